/** System programs that tests use, found or named with the command that brings them. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Program → Debian package, where the names differ. */
const PACKAGES: Record<string, string> = {
  ip: 'iproute2',
  nft: 'nftables',
  'ss-local': 'shadowsocks-libev',
  'ss-server': 'shadowsocks-libev',
  danted: 'dante-server',
  mbimcli: 'libmbim-utils',
};

/** Where a program is; undefined when it is not installed. `CHROMIUM` in the environment names a browser elsewhere. */
export function findTool(name: string): string | undefined {
  if (name === 'chromium' && process.env.CHROMIUM) return process.env.CHROMIUM;
  // Daemons lie in sbin, which is not on everybody's path.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.map(folder => join(folder, name)).find(isProgram);
}

/** What is missing of `names`, as a reason with its remedy; undefined when all are here. */
export function missingTools(names: readonly string[]): string | undefined {
  const missing = names.filter(name => findTool(name) === undefined);
  if (missing.length === 0) return undefined;
  const packages = [...new Set(missing.map(name => PACKAGES[name] ?? name))];
  return `${missing.join(', ')} missing: sudo apt-get install -y ${packages.join(' ')}`;
}

/** The first of `names` that is missing; undefined when all are here. */
export function missingTool(names: readonly string[]): string | undefined {
  return names.find(name => findTool(name) === undefined);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
