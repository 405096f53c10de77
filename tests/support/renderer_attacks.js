// Every way in which a page can make a browser connect, each to `target` + its own name.
const query = new URLSearchParams(location.search);
const target = query.get("target");
const wsTarget = target.replace("http", "ws");
const to = (url) => "/to?" + new URLSearchParams({ url });
const begun = [];
const element = (name, attributes, parent = document.body) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
};
const style = (text) => element("style", {}).append(text);
const link = (rel, more = {}) => (url) => element("link", { rel, href: url, ...more }, document.head);
const inWorker = (code) => new Worker(URL.createObjectURL(new Blob([code])));
const frameOf = (html) => element("iframe", { srcdoc: html });
const form = (method, attributes, url) => element("form", { method, action: url, ...attributes }).submit();
const rtc = (servers) => {
  const peer = new RTCPeerConnection({ iceServers: servers, iceCandidatePoolSize: 1 });
  peer.createDataChannel("x");
  peer.createOffer().then((offer) => peer.setLocalDescription(offer));
};
const host = new URL(target).host;
const tries = {
  "fetch": (url) => fetch(url),
  "fetch-opaque": (url) => fetch(url, { mode: "no-cors" }),
  "fetch-post": (url) => fetch(url, { method: "POST", body: "x", mode: "no-cors" }),
  "fetch-preflight": (url) => fetch(url, { method: "PUT", headers: { "x-y": "z" } }),
  "fetch-redirect": (url) => fetch(to(url), { mode: "no-cors" }),
  "fetch-redirect-twice": (url) => fetch(to(to(url)), { mode: "no-cors" }),
  "fetch-keepalive": (url) => fetch(url, { keepalive: true, mode: "no-cors" }),
  "fetch-credentials": (url) => fetch(url, { credentials: "include", mode: "no-cors" }),
  "fetch-https": (url) => fetch(url.replace("http:", "https:"), { mode: "no-cors" }),
  "xhr": (url) => { const x = new XMLHttpRequest(); x.open("GET", url); x.send(); },
  "xhr-post": (url) => { const x = new XMLHttpRequest(); x.open("POST", url); x.send("x"); },
  "websocket": (url) => new WebSocket(url.replace("http", "ws")),
  "websocket-tls": (url) => new WebSocket(url.replace("http", "wss")),
  "eventsource": (url) => new EventSource(url),
  "eventsource-redirect": (url) => new EventSource(to(url)),
  "beacon": (url) => navigator.sendBeacon(url, "x"),
  "webtransport": (url) => new WebTransport(url.replace("http:", "https:")).ready.catch(() => 0),
  "image": (url) => { new Image().src = url; },
  "image-element": (url) => element("img", { src: url }),
  "image-redirect": (url) => { new Image().src = to(url); },
  "picture": (url) => element("source", { srcset: url }, element("picture", {})),
  "input-image": (url) => element("input", { type: "image", src: url }),
  "video": (url) => element("video", { src: url, poster: url + "-poster", preload: "auto" }).load(),
  "audio": (url) => new Audio(url).play().catch(() => 0),
  "track": (url) => {
    const video = element("video", { src: "/none.mp4" });
    element("track", { src: url, default: "", kind: "subtitles" }, video).track.mode = "showing";
  },
  "stylesheet": link("stylesheet"),
  "css-import": (url) => style(`@import url("${url}");`),
  "css-background": (url) => style(`body { background: url("${url}") }`),
  "css-cursor": (url) => style(`body { cursor: url("${url}"), auto }`),
  "css-content": (url) => style(`body::after { content: url("${url}") }`),
  "font": (url) => { style(`@font-face { font-family: f; src: url("${url}") } p { font-family: f }`); element("p", {}).append("text"); },
  "fontface": (url) => new FontFace("g", `url("${url}")`).load().catch(() => 0),
  "script": (url) => element("script", { src: url }),
  "module-script": (url) => element("script", { src: url, type: "module" }),
  "import": (url) => import(url).catch(() => 0),
  "import-map": (url) => { element("script", { type: "importmap" }).append(JSON.stringify({ imports: { x: url } })); import("x").catch(() => 0); },
  "worker": (url) => inWorker(`importScripts("${url}")`),
  "worker-fetch": (url) => inWorker(`fetch("${url}", { mode: "no-cors" })`),
  "worker-websocket": (url) => inWorker(`new WebSocket("${url.replace("http", "ws")}")`),
  "worker-module": (url) => new Worker(URL.createObjectURL(new Blob([`import "${url}"`])), { type: "module" }),
  "shared-worker": (url) => new SharedWorker(URL.createObjectURL(new Blob([`fetch("${url}", { mode: "no-cors" })`]))),
  "service-worker": (url) => navigator.serviceWorker?.register("/worker.js?" + new URLSearchParams({ url })).catch(() => 0),
  "cache": (url) => caches.open("x").then((cache) => cache.add(url)).catch(() => 0),
  "iframe": (url) => element("iframe", { src: url }),
  "iframe-redirect": (url) => element("iframe", { src: to(url) }),
  "iframe-srcdoc": (url) => frameOf(`<iframe src="${url}"></iframe>`),
  "iframe-refresh": (url) => frameOf(`<meta http-equiv="refresh" content="0;url=${url}">`),
  "iframe-sandbox": (url) => element("iframe", { src: url, sandbox: "allow-scripts" }),
  "iframe-form": (url) => { element("iframe", { name: "f" }); form("post", { target: "f" }, url); },
  "iframe-location": (url) => frameOf(`<script>location = "${url}"</script>`),
  "object": (url) => element("object", { data: url, type: "text/html" }),
  "embed": (url) => element("embed", { src: url, type: "text/html" }),
  "frameset": (url) => frameOf(`<frameset><frame src="${url}"></frameset>`),
  "prefetch": link("prefetch"),
  "preload": link("preload", { as: "fetch", crossorigin: "" }),
  "modulepreload": link("modulepreload"),
  "preconnect": link("preconnect"),
  "dns-prefetch": link("dns-prefetch"),
  "prerender": link("prerender"),
  "icon": link("icon"),
  "manifest": link("manifest"),
  "speculation": (url) => element("script", { type: "speculationrules" }).append(JSON.stringify({ prefetch: [{ urls: [url], eagerness: "immediate" }], prerender: [{ urls: [url], eagerness: "immediate" }] })),
  "window-open": (url) => window.open(url),
  "window-open-redirect": (url) => window.open(to(url)),
  "link-blank": (url) => element("a", { href: url, target: "_blank" }).click(),
  "link-ping": (url) => element("a", { href: "#x", ping: url }).click(),
  "form-blank": (url) => form("post", { target: "_blank" }, url),
  "svg-image": (url) => { element("div", {}).innerHTML = `<svg><image href="${url}"/></svg>`; },
  "svg-use": (url) => { element("div", {}).innerHTML = `<svg><use href="${url}#x"/></svg>`; },
  "svg-filter": (url) => { element("div", {}).innerHTML = `<svg><filter id="q"><feImage href="${url}"/></filter><rect filter="url(#q)" width="9" height="9"/></svg>`; },
  "stun": () => rtc([{ urls: `stun:${host}` }]),
  "turn": () => rtc([{ urls: `turn:${host}?transport=udp`, username: "a", credential: "b" }]),
  "turn-tcp": () => rtc([{ urls: `turn:${host}?transport=tcp`, username: "a", credential: "b" }]),
  "file-fetch": () => fetch("file:///etc/hostname"),
  "file-frame": () => element("iframe", { src: "file:///etc/hostname" }),
  "file-open": () => window.open("file:///etc/hostname"),
  "ftp": (url) => fetch(url.replace("http", "ftp"), { mode: "no-cors" }),
  "user-name": (url) => element("iframe", { src: url.replace("//", "//user:word@") }),
};
const report = () => { document.getElementById("begun").textContent = begun.join(" "); };
for (const way of query.get("leave")?.split(" ") ?? []) {
  tries[way] = (url) => element("iframe", { src: `/leave/${way}?` + new URLSearchParams({ url }) });
}
const only = query.get("only")?.split(" ") ?? Object.keys(tries);
for (const [name, attempt] of Object.entries(tries)) {
  if (!only.includes(name)) continue;
  try {
    Promise.resolve(attempt(`${target}/${name}`)).catch(() => 0);
  } catch { /* refused at once, which is as good */ }
  begun.push(name);
}
report();
// The page is read once its text rests: leave the tries their time.
let left = 12;
const clock = setInterval(() => {
  document.getElementById("clock").textContent = left--;
  if (left < 0) clearInterval(clock);
}, 100);
