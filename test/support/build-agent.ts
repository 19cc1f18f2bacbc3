/** Builds the agent's bundles for tests that start workers or the whole agent: once a process, before first use. */
import { buildAgent } from '../../installer/local/build';

let built: Promise<void> | undefined;

/** Resolves when `agent/dist` holds bundles of the present sources. */
export function agentBuilt(): Promise<void> {
  // The runner builds once for all files and says so; a file run by hand builds for itself.
  built ??= process.env.MASTLINE_BUILT === '1' ? Promise.resolve() : buildAgent();
  return built;
}
