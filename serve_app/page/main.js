// The entry point: makes the parts of the page and connects them.

import { fetched, whenKeyIsWanted } from "./shared/requests.js";
import { Chat } from "./chat/chat.js";
import { collections } from "./documents/collections.js";
import { connectArchiveButtons } from "./documents/archives.js";
import { closes } from "./shared/dialogs.js";
import { Documents } from "./documents/documents.js";
import { fileChecks } from "./documents/file_checks.js";
import { takesFiles } from "./documents/file_drop.js";
import { part } from "./shared/dom.js";
import { Images } from "./images/images.js";
import { Jobs } from "./jobs/jobs.js";
import { SettingsDialog } from "./shell/settings_dialog.js";
import { Readiness } from "./shell/readiness.js";
import { settings } from "./shared/settings.js";
import { switchTheme } from "./shell/theme.js";
import { uploads } from "./documents/uploads.js";
import { Views } from "./shell/views.js";

for (const dialog of document.querySelectorAll("dialog")) closes(dialog);

const settingsDialog = new SettingsDialog();
const readiness = new Readiness();
const images = new Images();
const chat = new Chat({
  paint: (prompt) => {
    views.go("images");
    images.fill({ prompt });
  },
});
const views = new Views({ documents: new Documents(), images, jobs: new Jobs() });

whenKeyIsWanted((refused) => settingsDialog.askForKey(refused));
takesFiles();
connectArchiveButtons();
part("switch-theme").addEventListener("click", switchTheme);
uploads.addEventListener("ask", () => {
  settings.change({ documents: true });
  views.go("chat");
  chat.composer.focus();
});

views.turn();
readiness.look();
fetched("page/capabilities", { quiet: true }).then((capabilities) => {
  settings.allow(capabilities);
  fileChecks.maxBytes = capabilities.max_upload_bytes;
}, () => {});

// The models and collections to choose from. Only the first request asks for a key, so that the
// person is asked once; that a service does not answer is shown in the rail.
settings.addEventListener("key", () => {
  settingsDialog.load({ quiet: true }).catch(() => {});
  collections.load().catch(() => {});
});
await settingsDialog.load().catch(() => {});
await collections.load().catch(() => {});
if (matchMedia("(pointer: fine)").matches && views.current === "chat" && !document.querySelector("dialog[open]")) chat.composer.focus();
