/** The page's GPU, as far as it matters whether to run on it. */
export interface Gpu {
  /** As its browser calls it, which may be nothing. */
  name: string;
  /** Why it is not taken unless WebGPU is asked for by name. */
  unfit?: string;
}

/** Asks for the fastest adapter. wgpu does so again, but tells less of it. */
export async function findGpu(): Promise<Gpu> {
  const { gpu } = navigator as { gpu?: WebGpu };
  if (!gpu) return { name: '', unfit: self.isSecureContext ? 'this browser has none' : 'it needs a page from https or from this machine' };
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return { name: '', unfit: 'it gives no adapter here' };
  const { description, vendor, architecture, isFallbackAdapter = adapter.isFallbackAdapter } = adapter.info;
  const name = description || [vendor, architecture].filter(Boolean).join(' ');
  if (!isFallbackAdapter && !SOFTWARE.test(name)) return { name };
  return { name, unfit: `its adapter${name && `, ${name},`} is a program on the processor and slower` };
}

/**
 * Whether a bitmap shows what WebGPU drew on a canvas. In a Chromium without a GPU it shows nothing, and trying ends WebGPU for
 * the whole page: never ask there.
 */
export async function drawsBitmaps(): Promise<boolean> {
  const adapter = await (navigator as { gpu?: WebGpu }).gpu?.requestAdapter({ powerPreference: 'high-performance' });
  const device = await adapter?.requestDevice();
  try {
    const canvas = new OffscreenCanvas(1, 1);
    const context = canvas.getContext('webgpu') as CanvasContext | null;
    const flat = new OffscreenCanvas(1, 1).getContext('2d');
    if (!device || !context || !flat) return false;
    context.configure({ device, format: 'rgba8unorm', alphaMode: 'opaque' });
    const encoder = device.createCommandEncoder();
    const view = context.getCurrentTexture().createView();
    const clear = { view, loadOp: 'clear', storeOp: 'store', clearValue: [0.2, 0.4, 0.6, 1] };
    encoder.beginRenderPass({ colorAttachments: [clear] }).end();
    device.queue.submit([encoder.finish()]);
    flat.drawImage(canvas.transferToImageBitmap(), 0, 0);
    const shown = [...flat.getImageData(0, 0, 1, 1).data];
    return shown.every((value, i) => Math.abs(value - [51, 102, 153, 255][i]!) <= 1);
  } finally {
    device?.destroy();
  }
}

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render/i;

/** What is used here of WebGPU's own types. */
interface WebGpu {
  requestAdapter(options: { powerPreference: 'high-performance' }): Promise<{
    isFallbackAdapter?: boolean;
    info: { vendor: string; architecture: string; description: string; isFallbackAdapter?: boolean };
    requestDevice(): Promise<Device>;
  } | null>;
}

interface Device {
  createCommandEncoder(): {
    beginRenderPass(pass: { colorAttachments: object[] }): { end(): void };
    finish(): object;
  };
  queue: { submit(commands: object[]): void };
  destroy(): void;
}

interface CanvasContext {
  configure(configuration: { device: Device; format: string; alphaMode: string }): void;
  getCurrentTexture(): { createView(): object };
}
