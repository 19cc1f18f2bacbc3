/**
 * The door behind `npm start`, `npm test` and every `npm run …`. Plain JavaScript, because on a fresh clone nothing
 * that reads TypeScript is installed yet. Sees to Node, dependencies and the Prisma client, then hands over, in this
 * same process, to the TypeScript beside it. Does not know what those do.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const [command = 'start', ...rest] = process.argv.slice(2);
const MINIMUM = [20, 19];

/** Ends with one sentence that says what is wrong and one that says what to do. */
function stop(problem, remedy) {
  console.error(`\n✗ ${problem}\n  ${remedy}`);
  process.exit(1);
}

/** Runs one step of set-up, saying what and how long; its output is shown only when it fails. */
function step(title, run) {
  const begun = performance.now();
  process.stderr.write(`… ${title}`);
  const result = run();
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  process.stderr.write(`\r${result.status === 0 ? '✓' : '✗'} ${title} (${seconds} s)\n`);
  return result;
}

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < MINIMUM[0] || (major === MINIMUM[0] && minor < MINIMUM[1]))
  stop(
    `Mastline needs Node ${MINIMUM.join('.')} or newer; this is ${process.versions.node}.`,
    'Install a newer Node, for instance from https://nodejs.org/en/download, and try again.',
  );

const digest = text => createHash('sha256').update(text).digest('hex');
const stampFile = join(root, 'node_modules/.mastline-setup.json');
const stamps = existsSync(stampFile) ? JSON.parse(readFileSync(stampFile, 'utf8')) : {};
const saveStamp = (key, value) => {
  stamps[key] = value;
  writeFileSync(stampFile, `${JSON.stringify(stamps)}\n`);
};
const mustBeWritable = () => {
  try {
    accessSync(root, constants.W_OK);
  } catch {
    stop(
      `You may not write to ${root}.`,
      'Clone the repository into a folder of your own, or run as its owner.',
    );
  }
};

// Native modules built for another Node version do not load: the version is part of the stamp.
const lock = digest(readFileSync(join(root, 'package-lock.json'))) + process.versions.modules;
if (stamps.dependencies !== lock) {
  mustBeWritable();
  const result = step('installing dependencies', () =>
    spawnSync('npm', ['ci', '--no-audit', '--no-fund'], {
      cwd: root,
      encoding: 'utf8',
      env: installEnvironment(),
    }),
  );
  if (result.status !== 0) explainInstall(`${result.stdout ?? ''}${result.stderr ?? ''}`, result.error);
  mkdirSync(dirname(stampFile), { recursive: true });
  saveStamp('dependencies', lock);
}

const schemaDir = join(root, 'cloud/prisma');
const generated = join(root, 'cloud/server/db/generated');
const schema = lock + digest(readSchema(schemaDir));
if (stamps.prisma !== schema || !existsSync(generated)) {
  mustBeWritable();
  const result = step('generating the database client', () =>
    spawnSync(process.execPath, [join(root, 'node_modules/prisma/build/index.js'), 'generate'], {
      cwd: join(root, 'cloud'),
      encoding: 'utf8',
      // The generator needs no schema engine; naming one that does nothing keeps Prisma from downloading it.
      env: { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', PRISMA_HIDE_UPDATE_MESSAGE: '1' },
    }),
  );
  if (result.status !== 0)
    stop(
      `The database client could not be generated:\n${`${result.stdout}${result.stderr}`.trim().slice(-1500)}`,
      'This is a defect of the schema or of the installation: `npm ci` and try again.',
    );
  saveStamp('prisma', schema);
}

const { register } = await import('tsx/esm/api');
register();
switch (command) {
  case 'start': {
    const { start } = await import('./start.ts');
    await start(rest);
    break;
  }
  case 'test': {
    const { runTests } = await import('../../test/support/run.ts');
    process.exit(await runTests(rest));
    break;
  }
  case 'agent': {
    const { buildAgent } = await import('./build.ts');
    await buildAgent();
    const main = join(root, 'agent/dist/main.js');
    process.argv.splice(1, process.argv.length - 1, main, ...rest);
    await import(main);
    break;
  }
  case 'virtual': {
    // A virtual network beside a node that runs by itself; npm start brings its own.
    const { buildSimulators } = await import('./build.ts');
    await buildSimulators();
    const main = join(root, 'test/dist/simulators/main.js');
    process.argv.splice(1, process.argv.length - 1, main, ...rest);
    await import(pathToFileURL(main).href);
    break;
  }
  case 'check': {
    // Types, then lint and format; both always, so that one run tells everything.
    const tools = [
      ['node_modules/typescript/bin/tsc', '-b'],
      ['node_modules/@biomejs/biome/bin/biome', 'check', '.'],
    ];
    const ends = tools.map(
      ([tool = '', ...args]) =>
        spawnSync(process.execPath, [join(root, tool), ...args, ...rest], { cwd: root, stdio: 'inherit' })
          .status,
    );
    process.exit(ends.every(status => status === 0) ? 0 : 1);
    break;
  }
  case 'run': {
    // A TypeScript program of the repository: benchmarks, simulated fleets.
    const [file = '', ...args] = rest;
    const program = join(root, file);
    if (!file.endsWith('.ts') || !existsSync(program))
      stop(`There is no program "${file}".`, 'See `npm run`.');
    process.argv.splice(1, process.argv.length - 1, program, ...args);
    await import(pathToFileURL(program).href);
    break;
  }
  default:
    stop(`There is no command "${command}".`, 'Use `npm start`, `npm test` or `npm run agent -- --help`.');
}

/** The schema files' text, in order: when it changes the client is generated anew. */
function readSchema(folder) {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.prisma'))
    .sort()
    .map(path => readFileSync(join(folder, path), 'utf8'))
    .join('\n');
}

/** npm's environment without what would make it skip development packages: tests and bundler are among them. */
function installEnvironment() {
  const { NODE_ENV: _nodeEnv, ...env } = process.env;
  // A native module is built against Node's headers. Where they lie beside Node they need not be fetched.
  const prefix = dirname(dirname(process.execPath));
  if (!env.npm_config_nodedir && existsSync(join(prefix, 'include/node/node.h')))
    env.npm_config_nodedir = prefix;
  return { ...env, PRISMA_SKIP_POSTINSTALL_GENERATE: '1' };
}

/** What npm printed, read for the causes that a person can mend. */
function explainInstall(output, error) {
  const tail = output.trim().split('\n').slice(-12).join('\n');
  if (error?.code === 'ENOENT') stop('npm was not found.', 'Install npm (it comes with Node) and try again.');
  if (
    /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|network/i.test(output) &&
    !/node-gyp|gyp ERR/.test(output)
  )
    stop(
      `The package registry could not be reached.\n${tail}`,
      'The first start needs a network for its packages; later ones do not. Check the connection or the proxy settings of npm.',
    );
  if (/gyp ERR/.test(output) && /network connectivity|node-v[\d.]+-headers/.test(output))
    stop(
      `A native module (better-sqlite3) has to be built, and Node's headers could not be fetched from nodejs.org.\n${tail}`,
      'Check the connection or the proxy settings of npm; or install the headers (Debian: `sudo apt-get install -y libnode-dev`) and try again with npm_config_nodedir set to the folder that holds include/node.',
    );
  if (/gyp ERR|not found: make|g\+\+|Could not find any Python/i.test(output))
    stop(
      `A native module (better-sqlite3) could not be built.\n${tail}`,
      'Install a compiler and Python: `sudo apt-get install -y make g++ python3`, and try again.',
    );
  if (/ENOSPC/.test(output)) stop('The disk is full.', 'Free about 1 GB and try again.');
  if (/EACCES|EPERM/.test(output))
    stop(
      `npm may not write here.\n${tail}`,
      `Run as the owner of ${root}, or remove its node_modules folder first.`,
    );
  stop(`Dependencies could not be installed:\n${tail}`, 'Mend what npm names above and try again.');
}
