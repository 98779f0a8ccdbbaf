/** Makes the page work offline; see build/precache.ts for what it is filled in with. */
export {};

declare const self: ServiceWorkerGlobalScope;
/** Filled in by build/precache.ts. */
declare const __VERSION__: string;
declare const __FILES__: string[];

const CACHE = `vaekit-${__VERSION__}`;

self.addEventListener('install', (event) => {
  // A new version waits until no page uses the old one, whose files it does not have.
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(__FILES__)));
});

self.addEventListener('activate', (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) if (name.startsWith('vaekit-') && name !== CACHE) await caches.delete(name);
      await self.clients.claim();
    })(),
  );
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const ours = request.method === 'GET' && request.url.startsWith(self.registration.scope);
  if (ours) event.respondWith(answer(request));
});

/** From the cache, else from the network and kept: all files but the page itself have a hash in their name. */
async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request.mode === 'navigate' ? './' : request, { ignoreSearch: true });
  if (kept) return isolated(kept);
  const response = await fetch(request);
  if (response.status === 200) await cache.put(request, response.clone());
  return isolated(response);
}

/** With the headers that threads in wasm need, for hosts that cannot send them. */
function isolated(response: Response): Response {
  if (response.type === 'opaque' || response.type === 'error') return response;
  const headers = new Headers(response.headers);
  headers.set('Cross-Origin-Opener-Policy', 'same-origin');
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp');
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
