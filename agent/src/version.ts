/** The agent's version, from its manifest; the bundler writes it in. */
import manifest from '../package.json';

export const AGENT_VERSION: string = manifest.version;
