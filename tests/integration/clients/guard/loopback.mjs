// Let a client reach this machine only; the file TEST_STRAYED gets the hosts that it tried.
import fs from "node:fs";
import net from "node:net";

const INSIDE = new Set(["127.0.0.1", "::1", "localhost"]);
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...given) {
  // Node passes its own normalised arguments: an array with the options first.
  const options = Array.isArray(given[0]) ? given[0][0] : given[0];
  const host = options?.host ?? "localhost";
  if (!options?.path && !INSIDE.has(host)) {
    fs.appendFileSync(process.env.TEST_STRAYED, `${host}\n`);
    throw new Error(`${host} is not to be reached`);
  }
  return connect.apply(this, given);
};
