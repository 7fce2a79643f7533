// Keeps a server on this machine that would listen on every address: node --import loopback.mjs SERVER, which listens on the port of the variable PORT.
import net from "node:net";

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  return listen.call(this, Number(port), "127.0.0.1", ...rest);
};
