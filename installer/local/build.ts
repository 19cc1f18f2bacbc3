/**
 * Bundles what runs: the agent with its workers, the cloud's server, the simulators. Our own sources and pure
 * JavaScript packages of the agent go into its bundles (one file starts faster on a Pi than a thousand); packages
 * with native parts stay outside. The portal is Vite's work: cloud/vite.config.ts.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type BuildOptions, build, type Plugin } from 'esbuild';

const root = join(import.meta.dirname, '../..');

const common: BuildOptions = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  sourcemap: true,
  logLevel: 'warning',
  absWorkingDir: root,
  // CommonJS packages inside an ES module bundle call require(): give them one.
  banner: {
    js: "import { createRequire as mastlineCreateRequire } from 'node:module'; const require = mastlineCreateRequire(import.meta.url);",
  },
};

/** zod brings its messages in fifty languages, which every thread of the agent would read at its start: English will do. */
const zodInEnglish: Plugin = {
  name: 'zod-in-english',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]zod[\\/]v4[\\/]locales[\\/]index\.js$/ }, () => ({
      contents: 'export { default as en } from "./en.js";',
      loader: 'js',
    }));
  },
};

/**
 * Bundles, and puts each file in place by renaming, only when it differs: a program that starts at this moment, or a
 * second build beside this one, never reads half a file.
 */
async function bundle(options: BuildOptions): Promise<void> {
  const { outputFiles = [] } = await build({ ...options, write: false });
  for (const { path, contents } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    if (existsSync(path) && readFileSync(path).equals(contents)) continue;
    const half = `${path}.${process.pid}.half`;
    writeFileSync(half, contents);
    renameSync(half, path);
  }
}

/** Where packages stay outside, our own sources still go in: they are TypeScript. */
const ownSources = {
  '@mastline/shared': join(root, 'shared/src'),
  '@mastline/agent': join(root, 'agent/src'),
  '@mastline/firmware-profiles': join(root, 'firmware-profiles'),
};

/** `agent/dist/main.js` and one bundle for each `*.worker.ts`. */
export async function buildAgent(): Promise<void> {
  const workers = readdirSync(join(root, 'agent/src'), { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.worker.ts'))
    .map(path => join('agent/src', path));
  const entries = [join('agent/src', 'main.ts'), ...workers].filter(path => existsSync(join(root, path)));
  await bundle({
    ...common,
    entryPoints: entries,
    outdir: 'agent/dist',
    entryNames: '[name]',
    // Commands load what they need: the parts they share become chunks beside them. Old chunks are left lying, since
    // an agent that runs may still load one.
    splitting: true,
    external: ['better-sqlite3', 'serialport', 'bufferutil', 'utf-8-validate'],
    plugins: [zodInEnglish],
  });
}

/** `cloud/dist/main.js` and its workers; packages stay in node_modules, as the cloud runs where npm is. */
export async function buildCloud(): Promise<void> {
  const workers = readdirSync(join(root, 'cloud/server'), { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.worker.ts'))
    .map(path => join('cloud/server', path));
  await bundle({
    ...common,
    entryPoints: ['cloud/server/main.ts', ...workers],
    outdir: 'cloud/dist',
    entryNames: '[name]',
    packages: 'external',
    alias: ownSources,
  });
}

/** The portal: `cloud/build/{client,server}` by Vite. Skipped when nothing it is made of has changed. */
export async function buildPortal(): Promise<void> {
  const stamp = join(root, 'cloud/build/.made-of');
  const madeOf = contentsOf([
    'cloud/app',
    'cloud/public',
    'cloud/vite.config.ts',
    'shared/src',
    'package-lock.json',
  ]);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === madeOf) return;
  const remix = join(root, 'node_modules/@remix-run/dev/dist/cli.js');
  await new Promise<void>((resolve, reject) => {
    const child = spawn(process.execPath, [remix, 'vite:build'], {
      cwd: join(root, 'cloud'),
      env: { ...process.env, NODE_ENV: 'production' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', chunk => {
      output += chunk;
    });
    child.stderr.on('data', chunk => {
      output += chunk;
    });
    child.on('error', reject);
    child.on('close', code =>
      code === 0 ? resolve() : reject(new Error(`the portal did not build:\n${output.slice(-3000)}`)),
    );
  });
  writeFileSync(stamp, madeOf);
}

/** `test/dist/simulators/main.js`: virtual modems and the bundled origin. */
export async function buildSimulators(): Promise<void> {
  await bundle({
    ...common,
    entryPoints: ['test/simulators/main.ts'],
    outdir: 'test/dist/simulators',
    entryNames: '[name]',
    packages: 'external',
    alias: ownSources,
  });
}

/** Everything, in the order of what fails fastest. */
export async function buildAll(): Promise<void> {
  await Promise.all([buildAgent(), buildCloud(), buildSimulators()]);
  await buildPortal();
}

/** A digest of the names and contents of all files under `paths`. */
function contentsOf(paths: string[]): string {
  const hash = createHash('sha256');
  for (const path of paths) {
    const full = join(root, path);
    if (!existsSync(full)) continue;
    const files = statSync(full).isDirectory()
      ? readdirSync(full, { recursive: true, encoding: 'utf8' })
          .map(name => join(full, name))
          .filter(name => statSync(name).isFile())
          .sort()
      : [full];
    for (const file of files)
      hash.update(file.slice(root.length)).update('\0').update(readFileSync(file)).update('\0');
  }
  return hash.digest('hex');
}
