/** Makes the page work offline; see build/precache.ts for what it is filled in with. */
export {};

declare const self: ServiceWorkerGlobalScope;
/** Filled in by build/precache.ts. */
declare const __VERSION__: string;
declare const __FILES__: string[];

/** Caches are the origin's, where another copy of the page may lie in another folder. */
const OURS = `vaekit ${self.registration.scope} `;
const CACHE = `${OURS}${__VERSION__}`;

self.addEventListener('install', (event) => {
  // Past the browser's own cache, which may have files of the old version under the names that stay.
  const files = __FILES__.map((file) => new Request(file, { cache: 'reload' }));
  // A new version waits until no page uses the old one, whose files it does not have.
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(files)));
});

self.addEventListener('activate', (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) if (name.startsWith(OURS) && name !== CACHE) await caches.delete(name);
      await self.clients.claim();
    })(),
  );
});

self.addEventListener('fetch', (event) => {
  const { method, url } = event.request;
  const ours = method === 'GET' && url.startsWith(self.registration.scope);
  if (ours) event.respondWith(answer(event));
});

/** From the cache, else from the network and kept: all files but the page itself have a hash in their name. */
async function answer(event: FetchEvent): Promise<Response> {
  const { request } = event;
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request.mode === 'navigate' ? './' : request, { ignoreSearch: true });
  if (kept) return isolated(kept);
  const response = await fetch(request);
  // A full disk is no reason not to answer.
  if (response.status === 200) event.waitUntil(cache.put(request, response.clone()).catch(() => undefined));
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
