// Helpers inside the tests' page.

/** The values of a .npy file of f32. */
async function npy(url) {
  const bytes = await (await fetch(url)).arrayBuffer();
  const start = 10 + new DataView(bytes).getUint16(8, true);
  const header = new TextDecoder().decode(bytes.slice(10, start));
  const shape = header.match(/\(([\d, ]+)\)/)[1].split(',').map(Number).filter(Boolean);
  return { data: new Float32Array(bytes.slice(start)), shape };
}

/** The f32 tensors of a .safetensors file. */
async function tensors(url) {
  const bytes = await (await fetch(url)).arrayBuffer();
  const start = 8 + Number(new DataView(bytes).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.slice(8, start)));
  const arrays = Object.entries(header).filter(([name]) => name !== '__metadata__');
  return Object.fromEntries(
    arrays.map(([name, { shape, data_offsets: [from, to] }]) => [name, { shape, data: new Float32Array(bytes.slice(start + from, start + to)) }]),
  );
}

/** The largest difference of two arrays. */
function largest(a, b) {
  if (a.length !== b.length) throw new Error(`${a.length} values, expected ${b.length}`);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

/** The pixels of a bitmap or a canvas. */
function pixelsOf(drawable) {
  const context = new OffscreenCanvas(drawable.width, drawable.height).getContext('2d');
  context.drawImage(drawable, 0, 0);
  return context.getImageData(0, 0, drawable.width, drawable.height).data;
}

/** What a promise was rejected with. */
async function failure(promise) {
  try {
    await promise;
  } catch ({ name, kind, message, code }) {
    return { name, kind, message, ...(code && { code }) };
  }
  throw new Error('it was not rejected');
}

/** What a decode was rejected with that was cancelled as soon as it was on its way, and the most of it that was told as done. */
async function cancelled(vae, latents) {
  const controller = new AbortController();
  const told = [];
  const onProgress = ({ stage, done, total }) => {
    told.push(done / total);
    if (stage === 'decoding' && done > 0) controller.abort();
  };
  const stopped = await failure(vae.decode(latents, { signal: controller.signal, onProgress }));
  return { stopped, most: Math.max(...told) };
}

/** Tells the worker, which waits for it, to destroy its GPU's device. */
async function loseTheDevice() {
  new BroadcastChannel('device').postMessage('lose it');
  await new Promise((resolve) => setTimeout(resolve, 500));
}

const file = async (url) => new File([await (await fetch(url)).blob()], url.split('/').at(-1));

async function sha256(blob) {
  const hash = await crypto.subtle.digest('SHA-256', await blob.arrayBuffer());
  return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
