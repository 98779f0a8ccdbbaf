/** What a program can do about an error. */
export type ErrorKind = 'bad-input' | 'engine' | 'out-of-memory' | 'cancelled' | 'network' | 'other';

/** What exactly is wrong, where a program can mend it: `unknown-scaling`, by loading again with `scaling`. */
export type ErrorCode = 'unknown-scaling';

/** An error in the words of the native program. */
export class VaekitError extends Error {
  override readonly name = 'VaekitError';

  constructor(
    readonly kind: ErrorKind,
    message: string,
    readonly code?: ErrorCode | undefined,
  ) {
    super(message);
  }
}

export const cancelled = (): VaekitError => new VaekitError('cancelled', 'cancelled');
