/**
 * Where the bundled workers lie. Node starts workers from JavaScript only, so each `*.worker.ts` is bundled beside
 * the agent's main program (`agent/dist`); from the bundle that is the same folder, from source (tests) it is `dist`.
 */

/** URL of the bundle of `<name>.ts`, for `new Worker(url)`. */
export function workerUrl(name: string): URL {
  const here = import.meta.url;
  return here.includes('/agent/src/') ? new URL(`../dist/${name}.js`, here) : new URL(`./${name}.js`, here);
}
