// JSON in sessionStorage or localStorage, where the browser allows it. Services below different
// root paths of one origin keep their values apart.

const { pathname } = new URL(".", document.baseURI);
const PLACE = pathname === "/" ? "" : ` ${pathname}`;

/** What is kept under a name, or null: also when it is broken or storage is forbidden. */
export function kept(name, where = "sessionStorage") {
  try {
    return JSON.parse(window[where].getItem(name + PLACE));
  } catch {
    return null;
  }
}

/** Keep a value; null forgets it. False if there is no room or storage is forbidden. */
export function keep(name, value, where = "sessionStorage") {
  try {
    if (value === null) window[where].removeItem(name + PLACE);
    else window[where].setItem(name + PLACE, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
