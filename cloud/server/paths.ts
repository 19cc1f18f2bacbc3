/**
 * Where the cloud's files lie, seen from the bundle (`cloud/dist`) as from source (`cloud/server`): both are one
 * folder below `cloud`. This file must stay in `cloud/server` itself for that.
 */
import { fileURLToPath } from 'node:url';

const cloudDir = new URL('../', import.meta.url);

/** Absolute path of something below `cloud/`. */
export function cloudPath(relative: string): string {
  return fileURLToPath(new URL(relative, cloudDir));
}

/** URL of the bundle of `<name>.ts`, for `new Worker(url)`: Node starts workers from JavaScript only. */
export function workerUrl(name: string): URL {
  return new URL(`dist/${name}.js`, cloudDir);
}
