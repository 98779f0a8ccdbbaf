/** Size of the starter VAE's weights, and its config.json. */
declare const __STARTER_BYTES__: number;
declare const __STARTER_CONFIG__: object;

/** models/registry.toml as data, see build/registry.ts. */
declare module 'virtual:registry' {
  const entries: import('./models/hub').Entry[];
  export default entries;
}
