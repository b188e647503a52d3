// Chosen or dropped files, by their path in the build context.

const ARCHIVE = /\.(zip|tar|tgz|tar\.gz|tar\.zst)$/i;
const IGNORED = new Set([".DS_Store", "Thumbs.db"]);

/** Files of an `<input type="file">`. If a folder was chosen, its content is the context. */
export function chosen(list) {
  const found = new Map();
  for (const file of list) {
    const path = file.webkitRelativePath ? file.webkitRelativePath.split("/").slice(1).join("/") : file.name;
    if (!IGNORED.has(file.name)) found.set(path, file);
  }
  return found;
}

/**
 * Dropped files and folders. The content of a single folder is the context.
 * @param {DataTransfer} transfer
 */
export async function dropped(transfer) {
  // Entries must be read before the first await.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return chosen(transfer.files);
  const found = new Map();
  const alone = entries.length === 1 && entries[0].isDirectory;
  for (const entry of entries) await walk(entry, alone ? "" : entry.name, found);
  return found;
}

async function walk(entry, path, found) {
  if (entry.isFile) {
    if (!IGNORED.has(entry.name)) found.set(path, await new Promise((done, fail) => entry.file(done, fail)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // Browsers return a hundred at a time.
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return;
    for (const each of some) await walk(each, path ? `${path}/${each.name}` : each.name, found);
  }
}

/** The single file that is an archive already, and is sent unchanged. */
export function archive(files) {
  const [[path, file] = []] = files;
  return files.size === 1 && ARCHIVE.test(path) ? file : null;
}
