const whole = new Intl.NumberFormat('en');

export const count = (n: number): string => whole.format(n);

/** `3.5 MB`; a megabyte is a million bytes, as hubs and disks count. */
export function bytes(n: number): string {
  if (n < 1000) return `${n} B`;
  const exponent = Math.min(3, Math.floor(Math.log10(n) / 3));
  const value = n / 1000 ** exponent;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${['B', 'kB', 'MB', 'GB'][exponent]}`;
}

/** `0.42 s`, `12.3 s`, `2 min 5 s`. */
export function seconds(s: number): string {
  if (s < 10) return `${s.toFixed(2)} s`;
  if (s < 60) return `${s.toFixed(1)} s`;
  return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
}

/** Time left, as coarse as it is known. */
export function timeLeft(s: number): string {
  if (s < 1.5) return 'about a second left';
  if (s < 90) return `about ${Math.ceil(s)} seconds left`;
  return `about ${Math.round(s / 60)} minutes left`;
}

export const decibels = (psnr: number): string => (psnr === Infinity ? 'identical' : `${psnr.toFixed(2)} dB`);

/** SSIM; pictures with a side below 11 pixels have none. */
export const similarity = (ssim: number): string => (Number.isNaN(ssim) ? 'too small' : ssim.toFixed(4));

/** Three significant digits with a true minus sign. */
export function number(n: number): string {
  const digits = Math.abs(n) >= 100 ? 0 : Math.abs(n) >= 10 ? 1 : 2;
  return n.toFixed(digits).replace('-', '\u2212');
}

export const size = (width: number, height: number): string => `${width} × ${height}`;

/** `photo.of.me.jpg` to `photo.of.me`. */
export const stem = (name: string): string => name.replace(/\.[^.]+$/, '');
