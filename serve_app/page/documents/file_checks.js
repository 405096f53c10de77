// Checks of a file when it is chosen, so that nobody waits for an upload that must be refused.
// The service checks everything again; what cannot be told here is left to it.

import { part } from "../shared/dom.js";
import { size } from "../shared/formatting.js";

const HEAD_BYTES = 4096;
const PDF_HEADER_BYTES = 1024;
const MAX_CONTROL_SHARE = 0.02;  // of a text, as in the service
const UTF16_NUL_SHARE = 0.3;
export const READABLE = "Files that are read: PDF, Word, PowerPoint, Excel, OpenDocument, RTF, EPUB, mails, web pages, plain text, Markdown, CSV, JSON, XML, notebooks, source code, subtitles, ZIP files of these, and images as PNG, JPEG, TIFF or WebP.";
const IMAGES = [
  [0x89, 0x50, 0x4e, 0x47],  // PNG
  [0xff, 0xd8, 0xff],  // JPEG
  [0x49, 0x49, 0x2a, 0x00],  // TIFF
  [0x4d, 0x4d, 0x00, 0x2a],
];
const WEBP = [0x57, 0x45, 0x42, 0x50];  // after RIFF and the size
const WEBP_AT = 8;

const OLD_OFFICE = {
  ".doc": "DOC is not read: save it as DOCX.",
  ".ppt": "PPT is not read: save it as PPTX.",
};

class FileChecks {
  constructor() {
    this.maxBytes = Infinity;  // until the service has said
  }

  /** The sentence that refuses a file, or null. */
  async refusal(file) {
    if (file.size === 0) return "The file is empty.";
    if (file.size > this.maxBytes) return `The file is larger than ${size(this.maxBytes)}, which is the most that this service accepts.`;
    let head;
    try {
      head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
    } catch {
      return "The browser could not read the file.";
    }
    if (/\.pdf$/i.test(file.name)) return isPdf(head) ? null : "This is not a PDF, although its name ends in .pdf.";
    const ending = /\.[a-z0-9]+$/i.exec(file.name)?.[0].toLowerCase();
    if (isCompoundFile(head) && OLD_OFFICE[ending]) return OLD_OFFICE[ending];
    const known = hasReadableName(file.name) || isPdf(head) || isPackage(head) || isCompoundFile(head) || isImage(head);
    return known || looksLikeText(head) ? null : `This is not a text file. ${READABLE}`;
  }
}

function isPdf(head) {
  return new TextDecoder("latin1").decode(head.subarray(0, PDF_HEADER_BYTES)).includes("%PDF-");
}

function isPackage(head) {
  return startsWith(head, [0x50, 0x4b, 0x03, 0x04]);  // a ZIP file: also Office documents and books
}

function isCompoundFile(head) {
  return startsWith(head, [0xd0, 0xcf, 0x11, 0xe0]);  // an old Office document, or a mail of Outlook
}

function isImage(head) {
  return IMAGES.some((bytes) => startsWith(head, bytes)) || startsWith(head.subarray(WEBP_AT), WEBP);
}

function startsWith(head, bytes) {
  return bytes.every((byte, place) => head[place] === byte);
}

/** Whether the name ends as one of those that the file chooser offers. */
function hasReadableName(name) {
  const ends = part("files").accept.split(",").filter((kind) => kind.startsWith("."));
  return ends.some((end) => name.toLowerCase().endsWith(end));
}

function looksLikeText(head) {
  if ((head[0] === 0xff && head[1] === 0xfe) || (head[0] === 0xfe && head[1] === 0xff)) return true;  // UTF-16 or UTF-32
  const nuls = head.filter((byte) => byte === 0).length;
  if (nuls > head.length * UTF16_NUL_SHARE) return true;
  const controls = head.filter((byte) => byte < 9 || (byte > 13 && byte < 32 && byte !== 27)).length;
  return nuls === 0 && controls <= head.length * MAX_CONTROL_SHARE;
}

export const fileChecks = new FileChecks();
