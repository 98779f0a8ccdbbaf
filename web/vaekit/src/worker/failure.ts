import { type ErrorCode, VaekitError } from '../errors.js';
import type { Call, Failure } from '../messages.js';

/** An error of ours has a kind. Anything else is a panic or a trap, after which the module's memory means nothing. */
export function failure(error: unknown, call?: Call): Failure {
  if (error instanceof VaekitError) return failed(error.kind, error.message, { code: error.code });
  // Anything can be thrown, null too.
  const { kind, message = String(error), code } = Object(error) as { kind?: string; message?: string; code?: ErrorCode };
  if (kind === 'unsupported') return failed('engine', message, { code });
  // What was loaded went with the GPU's device.
  if (kind === 'lost') return failed('engine', message, { fatal: true });
  if (kind) return failed(kind as VaekitError['kind'], message, { code });
  if (isOutOfMemory(error)) return failed('out-of-memory', lacking(call), { fatal: true });
  return failed('other', message, { fatal: true });
}

function failed(kind: VaekitError['kind'], message: string, { fatal = false, code }: { fatal?: boolean; code?: ErrorCode | undefined }): Failure {
  return { error: { kind, message, code }, fatal };
}

/** A panic comes with its words; without any, the module has ended itself because it got no memory. */
const isOutOfMemory = (error: unknown): boolean =>
  (error instanceof WebAssembly.RuntimeError && /unreachable/.test(error.message)) ||
  (error instanceof RangeError && !/call stack/.test(error.message));

function lacking(call: Call | undefined): string {
  if (call === 'encode' || call === 'decode' || call === 'metrics' || call === 'compare') return 'there was not enough memory; use a smaller picture';
  return call === 'load' ? 'there was not enough memory for the VAE' : 'there was not enough memory';
}
