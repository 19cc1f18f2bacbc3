/** Directories that vanish with the test that made them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A fresh directory, and the call that removes it with everything in it. */
export async function tempDir(label = 'test'): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), `mastline-${label}-`));
  return {
    path,
    remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** Runs `body` with a folder that is gone afterwards. */
export async function withTempDir(label: string, body: (path: string) => Promise<void>): Promise<void> {
  const folder = await tempDir(label);
  try {
    await body(folder.path);
  } finally {
    await folder.remove();
  }
}
