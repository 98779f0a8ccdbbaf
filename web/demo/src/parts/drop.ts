/** Files that somebody dropped, picked or pasted, by path: `picture.jpg`, or `model/vaekit.json` out of a folder. */
export type Given = Map<string, File>;

/** No model folder has more; a home folder dropped by mistake ends here. */
const MAX_FILES = 500;

/** Takes files dropped or pasted anywhere on the page; `overlay` shows while something is held above it. */
export function takeFiles(overlay: HTMLElement, take: (files: Given | Promise<Given>) => void): void {
  let depth = 0;
  const hasFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') ?? false;
  const show = (change: number): void => {
    depth = Math.max(0, depth + change);
    overlay.hidden = depth === 0;
  };
  addEventListener('dragenter', (event) => hasFiles(event) && show(1));
  addEventListener('dragleave', (event) => hasFiles(event) && show(-1));
  addEventListener('dragover', (event) => hasFiles(event) && event.preventDefault());
  addEventListener('drop', (event) => {
    if (!hasFiles(event) || !event.dataTransfer) return;
    event.preventDefault();
    show(-depth);
    // Entries are gone after the event: take them all now, walk them later.
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
    take(walk(entries));
  });
  addEventListener('paste', (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    take(byPath(files));
  });
}

/** Files of an `<input type="file">`, with their folders where it picks one. */
export const byPath = (files: Iterable<File>): Given =>
  new Map([...files].map((file) => [file.webkitRelativePath || file.name, file]));

async function walk(entries: FileSystemEntry[]): Promise<Given> {
  const given: Given = new Map();
  const queue = [...entries];
  for (let entry = queue.shift(); entry && given.size < MAX_FILES; entry = queue.shift()) {
    if (entry.isDirectory) queue.push(...(await list(entry as FileSystemDirectoryEntry)));
    else {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      given.set(entry.fullPath.replace(/^\//, ''), file);
    }
  }
  return given;
}

/** All of a folder: browsers hand entries out in batches. */
async function list(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const entries: FileSystemEntry[] = [];
  for (;;) {
    const batch = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (batch.length === 0) return entries;
    entries.push(...batch);
  }
}
