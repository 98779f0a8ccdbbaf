import type { Plugin } from 'vite';

/**
 * What the published page may do: scripts are its own alone. It may fetch from anywhere, since the hub's address is a setting.
 */
const POLICY = {
  'default-src': "'self'",
  'script-src': "'self' 'wasm-unsafe-eval'",
  'style-src': "'self' 'unsafe-inline'",
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
