import type { Plugin } from 'vite';

/**
 * What the published page may do. Scripts are its own alone, and what strangers' files say is never run; it may fetch from
 * anywhere, since the hub's address is a setting, but sends nothing there.
 */
const POLICY = {
  'default-src': "'self'",
  'script-src': "'self' 'wasm-unsafe-eval'",
  'worker-src': "'self' blob:",
  'img-src': "'self' blob: data:",
  'connect-src': "'self' blob: https: http://127.0.0.1:* http://localhost:*",
  'object-src': "'none'",
  'base-uri': "'none'",
  'form-action': "'none'",
};

/** Writes the policy into the built page. */
export function policy(): Plugin {
  const content = Object.entries(POLICY)
    .map(([name, sources]) => `${name} ${sources}`)
    .join('; ');
  return {
    name: 'vaekit-policy',
    apply: 'build',
    transformIndexHtml: () => [
      { tag: 'meta', attrs: { 'http-equiv': 'Content-Security-Policy', content }, injectTo: 'head-prepend' },
    ],
  };
}
