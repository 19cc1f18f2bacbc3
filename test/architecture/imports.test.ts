/**
 * Who may import whom, each ban with its reason. A rule whose folder is gone fails too, so that a renamed folder
 * cannot slip out from under its rule.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { suite } from '../support/suite';

const root = join(import.meta.dirname, '../..');
const test = suite('import directions');

interface Rule {
  /** Files this rule holds for: a path prefix. */
  from: string;
  /** Except these prefixes. */
  except?: string[];
  /** What they may not import: path prefixes, or package names. */
  never: string[];
  because: string;
  /** An import of nothing but these names is allowed all the same. */
  harmless?: string[];
  /** `import type` is allowed all the same. */
  typesAllowed?: boolean;
}

const rules: Rule[] = [
  {
    from: 'shared/',
    never: ['agent/', 'cloud/', 'installer/', 'firmware-profiles/', 'test/'],
    because: 'shared is the contract: both sides stand on it, it stands on nothing of ours',
  },
  {
    from: 'agent/',
    never: ['cloud/', 'installer/', 'test/'],
    because: 'agent and cloud meet only on the wire',
  },
  {
    from: 'cloud/',
    never: ['agent/', 'installer/', 'test/'],
    because: 'agent and cloud meet only on the wire',
  },
  {
    from: 'firmware-profiles/',
    never: ['agent/', 'cloud/', 'installer/', 'test/'],
    because: 'profiles are data that both sides read',
  },
  {
    from: 'shared/src/base/',
    never: ['shared/src/domain/', 'shared/src/wire/', 'shared/src/protocols/'],
    because: 'base is the ground floor',
  },
  {
    from: 'shared/src/domain/',
    never: ['shared/src/wire/', 'shared/src/protocols/'],
    because: 'words come before wires',
  },
  {
    from: 'shared/src/protocols/',
    never: ['node:net', 'node:http', 'node:tls', 'node:dgram', 'shared/src/wire/'],
    harmless: ['isIP', 'isIPv4', 'isIPv6'],
    because: 'a protocol parser owns no socket: bytes in, events out',
  },
  {
    from: 'agent/src/data-plane/',
    never: ['agent/src/spool/', 'agent/src/control-plane/', 'agent/src/modem-plane/', 'ws', 'better-sqlite3'],
    because: 'customer bytes never wait for the cloud, a disk or a radio: those are handed in by ports',
  },
  {
    from: 'agent/src/modem-plane/',
    never: ['agent/src/spool/', 'agent/src/control-plane/', 'agent/src/data-plane/', 'ws', 'better-sqlite3'],
    because: 'the radios know nothing of customers or of the cloud',
  },
  {
    from: 'agent/src/spool/',
    never: ['agent/src/control-plane/', 'agent/src/data-plane/', 'agent/src/modem-plane/', 'ws'],
    because: 'the spool is a store',
  },
  {
    from: 'agent/src/control-plane/',
    never: ['agent/src/data-plane/', 'agent/src/modem-plane/', 'better-sqlite3'],
    because: 'the control plane reaches the other planes through ports',
  },
  {
    from: 'agent/src/',
    except: ['agent/src/spool/'],
    never: ['better-sqlite3'],
    because: 'one owner of SQLite',
  },
  {
    from: 'agent/src/',
    except: ['agent/src/control-plane/'],
    never: ['ws'],
    because: 'one owner of the link',
  },
  {
    from: 'cloud/server/cluster/',
    never: [
      'cloud/server/gateway/',
      'cloud/server/ingest/',
      'cloud/server/insight/',
      'cloud/server/ledger/',
      'cloud/server/quota/',
      'cloud/server/rollout/',
      'cloud/server/rpc/',
      'cloud/server/http/',
      'pg',
    ],
    because: 'the cluster carries what others say by ports; what must be exact is not its business',
  },
  {
    from: 'cloud/server/',
    except: ['cloud/server/cluster/'],
    never: ['nats'],
    because: 'one owner of the bus',
  },
  {
    from: 'cloud/app/',
    except: ['cloud/app/api.server.ts'],
    never: ['cloud/server/'],
    typesAllowed: true,
    because:
      'the portal reaches the server by one door, or the Vite bundle would hold a second copy of its state',
  },
  {
    from: 'cloud/server/',
    never: ['cloud/app/'],
    because: 'the server carries the portal; it does not know it',
  },
  {
    from: 'cloud/server/observe/',
    never: [
      ...[
        'fleet',
        'ledger',
        'quota',
        'rollout',
        'ingest',
        'gateway',
        'insight',
        'identity',
        'rpc',
        'http',
      ].map(domain => `cloud/server/${domain}/`),
    ],
    because: 'domains count in here; what counts knows none of them',
  },
  {
    from: 'cloud/',
    except: ['cloud/server/observe/'],
    never: ['prom-client', '@opentelemetry/sdk-trace-node', '@opentelemetry/exporter-trace-otlp-http'],
    because: 'one owner of each, loaded only when somebody wants it',
  },
  {
    from: 'installer/',
    never: ['agent/src/', 'cloud/server/', 'cloud/app/', 'test/simulators/'],
    because: 'the starter runs programs, it does not reach into them',
  },
];

interface Import {
  file: string;
  target: string;
  typeOnly: boolean;
  names: string[];
}

const sources = ['shared', 'agent', 'cloud', 'installer', 'firmware-profiles'].flatMap(folder =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter(
      path => /\.tsx?$/.test(path) && !/(^|\/)(node_modules|dist|build|\.tsbuild|generated)\//.test(path),
    )
    .map(path => join(folder, path)),
);
const imports = sources.flatMap(importsOf);

test('the sources were found', () => {
  assert.ok(sources.length > 40, `only ${sources.length} sources`);
  assert.ok(imports.length > 100, `only ${imports.length} imports`);
});

for (const rule of rules)
  test(`${rule.from} never imports ${rule.never.join(', ')}`, () => {
    assert.ok(existsSync(join(root, rule.from)), `${rule.from} is gone: mend the rule`);
    for (const path of [...rule.never, ...(rule.except ?? [])])
      if (path.includes('/') && !path.startsWith('@'))
        assert.ok(existsSync(join(root, path)), `${path} is gone: mend the rule`);
    const broken = imports.filter(
      one =>
        one.file.startsWith(rule.from) &&
        !rule.except?.some(path => one.file.startsWith(path)) &&
        !(rule.typesAllowed && one.typeOnly) &&
        !(rule.harmless && one.names.length > 0 && one.names.every(name => rule.harmless?.includes(name))) &&
        rule.never.some(path => (path.endsWith('/') ? one.target.startsWith(path) : one.target === path)),
    );
    assert.deepEqual(
      broken.map(one => `${one.file} imports ${one.target}`),
      [],
      rule.because,
    );
  });

/** Imports of a file, with our own targets as paths from the root and packages by name. */
function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  const found: Import[] = [];
  const pattern =
    /^\s*(?:import|export)\s+(type\s)?(?:([^'"`;]*?)\sfrom\s+)?['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)/gm;
  for (const match of text.matchAll(pattern)) {
    const specifier = match[3] ?? match[4];
    const names =
      /^\{([^}]*)\}$/
        .exec(match[2]?.trim() ?? '')?.[1]
        ?.split(',')
        .map(name => name.trim()) ?? [];
    if (specifier === undefined) continue;
    found.push({ file, target: targetOf(file, specifier), typeOnly: match[1] !== undefined, names });
  }
  return found;
}

function targetOf(file: string, specifier: string): string {
  if (specifier.startsWith('.')) return normalize(join(dirname(file), specifier));
  if (specifier.startsWith('~/')) return join('cloud/app', specifier.slice(2));
  const own = /^@mastline\/([\w-]+)\/(.+)$/.exec(specifier);
  if (!own) return specifier;
  const [, workspace = '', path = ''] = own;
  return workspace === 'shared' || workspace === 'agent'
    ? `${workspace}/src/${path}`
    : `${workspace}/${path}`;
}

test.run();
