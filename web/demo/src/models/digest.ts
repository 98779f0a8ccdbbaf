export interface Digest {
  update(bytes: Uint8Array): unknown;
  hex(): string;
}

/** WebCrypto wants all bytes at once, which weights are too large for, and a secure context. */
export async function sha256(): Promise<Digest> {
  const [{ sha256 }, { bytesToHex }] = await Promise.all([import('@noble/hashes/sha2.js'), import('@noble/hashes/utils.js')]);
  const hash = sha256.create();
  return { update: (bytes) => hash.update(bytes), hex: () => bytesToHex(hash.digest()) };
}

/** Bytes at either end of a file that are looked at. */
const END = 1 << 16;

/**
 * Tells files of the same names and sizes apart, as those of one VAE for several models are, without reading all of them: by
 * their paths, sizes and both ends, where a checkpoint has weights, or the checksums of them.
 */
export async function fingerprint(files: Map<string, Blob>): Promise<string> {
  const digest = await sha256();
  for (const [path, file] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    digest.update(new TextEncoder().encode(`${path}\0${file.size}\0`));
    for (const end of [file.slice(0, END), file.slice(-END)]) digest.update(new Uint8Array(await end.arrayBuffer()));
  }
  return digest.hex().slice(0, 16);
}
