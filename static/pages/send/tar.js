// Packs files as a tar archive and compresses it while reading, so that no whole file is in memory.

const BLOCK = 512;
const NAME_BYTES = 100; // in a plain header; a longer or non-ASCII name needs an extended header
const MODE = 0o755; // browsers do not know modes, and a script that cannot run is worse than a file that can
const encoder = new TextEncoder();

/**
 * @param {Map<string, File>} files by path
 * @returns {Promise<File>} `context.tar.gz`, or `context.tar` if the browser cannot compress
 */
export async function pack(files) {
  const source = new ReadableStream(new Source(files));
  const gzip = "CompressionStream" in window;
  const packed = gzip ? source.pipeThrough(new CompressionStream("gzip")) : source;
  const blob = await new Response(packed).blob();
  return new File([blob], gzip ? "context.tar.gz" : "context.tar");
}

class Source {
  #pieces;

  constructor(files) {
    this.#pieces = archive(files);
  }

  async pull(controller) {
    const { done, value } = await this.#pieces.next();
    if (done) controller.close();
    else controller.enqueue(value);
  }
}

async function* archive(files) {
  for (const path of [...files.keys()].sort()) {
    const file = files.get(path);
    const seconds = Math.max(0, Math.floor(file.lastModified / 1000));
    const name = encoder.encode(path);
    if (name.length > NAME_BYTES || name.length > path.length) {
      const record = pax("path", path);
      yield header(encoder.encode("extended"), record.length, "x", seconds);
      yield record;
      yield padding(record.length);
    }
    yield header(name, file.size, "0", seconds);
    let read = 0;
    for await (const piece of chunks(file)) {
      read += piece.length;
      yield piece;
    }
    if (read !== file.size) throw new Error(`${path} changed while it was read`);
    yield padding(file.size);
  }
  yield new Uint8Array(2 * BLOCK);
}

async function* chunks(file) {
  const reader = file.stream().getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

const padding = (size) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

/** `<length> <key>=<value>\n`; the length includes itself. */
function pax(key, value) {
  const rest = encoder.encode(` ${key}=${value}\n`).length;
  let length = rest + 1;
  while (String(length).length + rest !== length) length = String(length).length + rest;
  return encoder.encode(`${length} ${key}=${value}\n`);
}

/** A header in the ustar format. */
export function header(name, size, kind, seconds) {
  const block = new Uint8Array(BLOCK);
  const put = (at, text) => block.set(encoder.encode(text), at);
  const octal = (at, digits, number) => put(at, number.toString(8).padStart(digits, "0"));
  block.set(name.slice(0, NAME_BYTES));
  octal(100, 7, MODE);
  octal(108, 7, 0);
  octal(116, 7, 0);
  octal(124, 11, size);
  octal(136, 11, seconds);
  put(148, " ".repeat(8));
  put(156, kind);
  put(257, "ustar\u000000");
  octal(148, 6, block.reduce((sum, byte) => sum + byte, 0));
  block[154] = 0;
  return block;
}
