// The original of a source, fetched with the key: shown in a tab of its own, or saved.

import { element } from "../shared/dom.js";
import { faultNotice } from "../shared/notices.js";
import { faultOf, request } from "../shared/requests.js";

const KEPT_MS = 60_000;  // for the browser to read it

/** Open the original of a source at its page. The service says which files may be shown. */
export async function openOriginal({ content_uri, filename }) {
  try {
    const response = await request(content_uri.slice(1));
    const shown = response.headers.get("Content-Disposition")?.startsWith("inline");
    const url = URL.createObjectURL(await response.blob());
    const { hash } = new URL(content_uri, location.href);
    element("a", shown ? { href: url + hash, target: "_blank" } : { href: url, download: filename }).click();
    setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
  } catch (error) {
    faultNotice(faultOf(error));
  }
}
