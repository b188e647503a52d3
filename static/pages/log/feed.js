// Receives live lines: over a websocket, or as server-sent events if websockets are blocked.
// Every message moves the cursor, and each connection starts there: no line is missing or repeated.

const PAUSES = [500, 1_000, 2_000, 5_000, 10_000];
const FINAL = { 4401: "Sign in again to go on.", 4404: "The image is gone, or no longer yours to see." };
const SOCKET_TRIES = 2;
const ACK_CHARACTERS = 64 * 1024; // a quarter of what the server sends without acknowledgement
const ACK_EACH = 1_000;

export class Feed {
  #tries = 0;
  #unopened = 0;
  #ended = false;
  #lost = false;
  #soon = null;

  /** `on` has lines(attempt, first, lines, headings), status(message), done(message) and state(text). */
  constructor(image, cursor, on) {
    this.image = image;
    this.cursor = cursor;
    this.on = on;
    this.#connect();
    addEventListener("online", () => this.#soon?.());
  }

  #connect() {
    if (this.#ended) return;
    if (this.#unopened < SOCKET_TRIES && "WebSocket" in window) this.#socket();
    else this.#events();
  }

  #again(at_once = false) {
    if (this.#ended) return;
    this.#lost = true;
    this.on.state("Connection lost, trying again");
    const pause = PAUSES[Math.min(this.#tries++, PAUSES.length - 1)] * (0.7 + 0.6 * Math.random());
    const wait = setTimeout(() => this.#soon?.(), at_once ? 100 : pause);
    this.#soon = () => {
      this.#soon = null;
      clearTimeout(wait);
      this.#connect();
    };
  }

  #stop(text) {
    this.#ended = true;
    this.on.state(text);
  }

  #heard() {
    this.#tries = 0;
    if (!this.#lost) return;
    this.#lost = false;
    this.on.state("");
  }

  #socket() {
    const secure = location.protocol === "https:" ? "wss:" : "ws:";
    const address = `${secure}//${location.host}/ws/images/${this.image}/logs?offset=${this.cursor}`;
    const socket = new WebSocket(address);
    let opened = false;
    let unsaid = 0;
    let said = 0;
    const acknowledge = () => {
      unsaid = 0;
      said = performance.now();
      if (socket.readyState === WebSocket.OPEN) {
        socket.send(JSON.stringify({ type: "ack", cursor: this.cursor }));
      }
    };
    socket.onopen = () => {
      opened = true;
      this.#unopened = 0;
    };
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      this.#heard();
      if (message.type === "lines") {
        this.on.lines(message.attempt, message.first, message.lines, message.headings ?? []);
        this.cursor = message.next;
        unsaid += event.data.length;
        if (unsaid >= ACK_CHARACTERS || performance.now() - said >= ACK_EACH) acknowledge();
      } else if (message.type === "ping") acknowledge();
      else if (message.type === "status") this.on.status(message);
      else if (message.type === "done") {
        this.#ended = true;
        this.on.done(message);
      }
    };
    socket.onclose = (event) => {
      if (!opened) this.#unopened++;
      if (FINAL[event.code]) this.#stop(FINAL[event.code]);
      else this.#again(event.code === 1001 && this.#tries === 0);
    };
  }

  #events() {
    const source = new EventSource(`/images/${this.image}/logs?offset=${this.cursor}`);
    source.onopen = () => this.#heard();
    source.onmessage = (event) => {
      const { log, offset } = JSON.parse(event.data);
      const line = [log.log_type, log.log, Date.parse(log.ts) * 1000, log.step ?? null];
      const headings = log.heading ? [[log.step, log.line, log.log, line[2]]] : [];
      this.on.lines(Number(offset.split(":")[0]), log.line, [line], headings);
      this.cursor = offset;
    };
    source.addEventListener("done", (event) => {
      source.close();
      this.#ended = true;
      this.on.done({ status: JSON.parse(event.data), state: null });
    });
    source.onerror = () => {
      // Reconnect from the cursor here: a browser gives up for good after an answer like 502.
      source.close();
      // The websocket may have failed only because the network was away.
      if (this.#tries > 2) this.#unopened = 0;
      this.#again();
    };
  }
}
