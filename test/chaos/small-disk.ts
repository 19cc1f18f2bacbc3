/** A disk of its own for the agent's data, small enough to be filled: a tmpfs. Only root can mount one. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Room for the spool, its reserve (taken when four times as much is free) and the ballast. */
const SIZE = '64m';
const BLOCK = 1024 * 1024;

export interface SmallDisk {
  /** Takes all that is left; again when called again, since the spool gives up its reserve. */
  fill(): void;
  free(): void;
  unmount(): void;
}

/** Why this machine cannot play a full disk; undefined when it can. */
export function whyNoSmallDisk(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can mount a small disk';
  try {
    execFileSync('unshare', ['--mount', 'true'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'this machine does not let root mount';
  }
}

/** Mounted at `path`, which is made. */
export function mountSmallDisk(path: string): SmallDisk {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE},mode=0700`, 'tmpfs', path]);
  const ballast = join(path, 'ballast');
  return {
    fill() {
      const { bavail, bsize } = statfsSync(path);
      for (let left = bavail * bsize; left > 0; left -= BLOCK)
        try {
          writeFileSync(ballast, Buffer.alloc(Math.min(BLOCK, left)), { flag: 'a' });
        } catch (error) {
          if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return;
          throw error;
        }
    },
    free: () => rmSync(ballast, { force: true }),
    unmount: () => void execFileSync('umount', [path]),
  };
}
