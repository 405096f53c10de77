// The page: its parts made and joined.

import { whenKeyIsWanted } from "./shared/requests.js";
import { Chat } from "./chat/chat.js";
import { collections } from "./documents/collections.js";
import { closes } from "./shared/dialogs.js";
import { Documents } from "./documents/documents.js";
import { takesFiles } from "./documents/file_drop.js";
import { part } from "./shared/dom.js";
import { Images } from "./images/images.js";
import { Jobs } from "./jobs/jobs.js";
import { Preferences } from "./shell/settings_dialog.js";
import { Readiness } from "./shell/readiness.js";
import { settings } from "./shared/settings.js";
import { switchTheme } from "./shell/theme.js";
import { uploads } from "./documents/uploads.js";
import { Views } from "./shell/views.js";

for (const dialog of document.querySelectorAll("dialog")) closes(dialog);

const preferences = new Preferences();
const readiness = new Readiness();
const images = new Images();
const chat = new Chat({
  paint: (prompt) => {
    views.go("images");
    images.fill({ prompt });
  },
});
const views = new Views({ documents: new Documents(), images, jobs: new Jobs() });

whenKeyIsWanted((refused) => preferences.askForKey(refused));
takesFiles();
part("switch-theme").addEventListener("click", switchTheme);
uploads.addEventListener("ask", () => {
  settings.change({ documents: true });
  views.go("chat");
  chat.composer.focus();
});

views.turn();
readiness.look();

// What the settings offer. Only the first request asks for a key, so that it is asked for once; a
// service that does not answer is seen in the rail.
settings.addEventListener("key", () => {
  preferences.load({ quiet: true }).catch(() => {});
  collections.load().catch(() => {});
});
await preferences.load().catch(() => {});
await collections.load().catch(() => {});
if (matchMedia("(pointer: fine)").matches && views.current === "chat" && !document.querySelector("dialog[open]")) chat.composer.focus();
