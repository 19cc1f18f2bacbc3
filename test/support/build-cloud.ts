/** Builds the cloud's bundles for tests that start the database thread or the whole cloud: once a process, before first use. */
import { buildCloud } from '../../installer/local/build';

let built: Promise<void> | undefined;

/** Resolves when `cloud/dist` holds bundles of the present sources. */
export function cloudBuilt(): Promise<void> {
  // The runner builds once for all files and says so; a file run by hand builds for itself.
  built ??= process.env.MASTLINE_BUILT === '1' ? Promise.resolve() : buildCloud();
  return built;
}
