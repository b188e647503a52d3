// Receives status changes of images over a websocket that reconnects by itself.

const PAUSES = [500, 1_000, 2_000, 5_000, 10_000];
const SIGN_IN = 4401;
const GONE = 4404;

/** `on` has message(message, ready), away() and signedOut(). `ready` is false for the first states. */
export function listen(query, on) {
  if (!("WebSocket" in window)) return;
  let tries = 0;
  const connect = () => {
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws/images${query}`);
    let ready = false;
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      tries = 0;
      if (message.type === "ping") socket.send(JSON.stringify({ type: "ack" }));
      else {
        ready ||= message.type === "ready";
        on.message(message, ready);
      }
    };
    socket.onclose = (event) => {
      if (event.code === SIGN_IN) on.signedOut?.();
      if ([SIGN_IN, GONE].includes(event.code)) return;
      if (tries > 1) on.away?.();
      setTimeout(connect, PAUSES[Math.min(tries++, PAUSES.length - 1)] * (0.7 + 0.6 * Math.random()));
    };
  };
  connect();
}
