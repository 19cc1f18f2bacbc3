/** Runs the system's network tools for the virtual network, with a deadline, and names what is missing. */
import { spawn } from 'node:child_process';
import { CodedError } from '@mastline/shared/base/coded-error';

const TOOL_DEADLINE_MS = 15_000;
const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;

/** Runs `command`, feeds it `input`, gives its output. Throws `simulator/tool-missing` or `simulator/tool-failed`. */
export function runTool(command: string, args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], { env: { ...process.env, PATH, LC_ALL: 'C' }, stdio: 'pipe' });
    let out = '';
    let said = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), TOOL_DEADLINE_MS);
    child.stdout.on('data', chunk => {
      out += chunk;
    });
    child.stderr.on('data', chunk => {
      said += chunk;
    });
    // A tool that ends before it has read its input says so by its exit code.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    child.once('error', error => {
      clearTimeout(timer);
      reject(new CodedError('simulator/tool-missing', `${command}: ${error.message}`, { cause: error }));
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) return resolve(out);
      const why = signal ? `ended by ${signal} after ${TOOL_DEADLINE_MS} ms` : `exit code ${code}`;
      reject(
        new CodedError(
          'simulator/tool-failed',
          `${command} ${args.join(' ')}: ${said.trim() || why}${input === '' ? '' : `\n${input}`}`,
        ),
      );
    });
  });
}

/** `ip` with one command line in words: `ip('link set lo up', 'ml1-net')` acts in that namespace. */
export function ip(words: string, namespace?: string): Promise<string> {
  return runTool('ip', [...(namespace === undefined ? [] : ['-n', namespace]), ...words.split(' ')]);
}

/** Loads an nftables script as one transaction, in a namespace or in this one. */
export function nft(script: string, namespace?: string): Promise<string> {
  return namespace === undefined
    ? runTool('nft', ['-f', '-'], script)
    : runTool('ip', ['netns', 'exec', namespace, 'nft', '-f', '-'], script);
}

/** Why the namespaces kind cannot run here, with the remedy; undefined when it can. */
export async function whyNoNamespaces(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'network namespaces are a Linux feature';
  if (process.getuid?.() !== 0) return 'not root; virtual modems as real networks need root (sudo)';
  for (const [tool, args, pkg] of [
    ['ip', ['-V'], 'iproute2'],
    ['nft', ['-v'], 'nftables'],
  ] as const) {
    try {
      await runTool(tool, args);
    } catch {
      return `"${tool}" is missing: apt-get install -y ${pkg}`;
    }
  }
  const probe = `mlprobe${process.pid}`;
  try {
    await ip(`netns add ${probe}`);
    // One namespace with a veth pair and a source-NAT rule: all that a modem is made of.
    await ip(`link add mlp${process.pid} type veth peer name lan0`, probe);
    await nft(
      'table ip probe { chain post { type nat hook postrouting priority 100; oifname "lan0" snat to 198.18.0.1; }; }',
      probe,
    );
    return undefined;
  } catch (error) {
    return `this machine's kernel or container does not allow it (${error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)})`;
  } finally {
    // Not there when the first command failed, which has been reported.
    await ip(`netns del ${probe}`).catch(() => undefined);
  }
}
