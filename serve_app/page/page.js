// The page: its parts made and joined.

import { whenKeyIsWanted } from "./api.js";
import { Chat } from "./chat.js";
import { collections } from "./collections.js";
import { closes } from "./dialog.js";
import { Documents } from "./documents.js";
import { takesFiles } from "./drop.js";
import { part } from "./element.js";
import { Images } from "./images.js";
import { Jobs } from "./jobs.js";
import { Preferences } from "./preferences.js";
import { Readiness } from "./readiness.js";
import { settings } from "./settings.js";
import { switchTheme } from "./theme.js";
import { uploads } from "./uploads.js";
import { Views } from "./views.js";

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
