/** What a program can do about an error. */
export type ErrorKind = 'bad-input' | 'engine' | 'out-of-memory' | 'cancelled' | 'network' | 'other';

/** An error in the words of the native program. */
export class VaekitError extends Error {
  override readonly name = 'VaekitError';

  constructor(
    readonly kind: ErrorKind,
    message: string,
  ) {
    super(message);
  }
}

export const cancelled = (): VaekitError => new VaekitError('cancelled', 'cancelled');
