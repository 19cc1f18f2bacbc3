/** Runs the independent tools that judge simulator and driver, and says why one cannot be run here. */
import { spawn, spawnSync } from 'node:child_process';

const TOOL_DEADLINE_MS = 25_000;

export interface ToolResult {
  code: number | null;
  /** What it printed on both streams. */
  text: string;
}

export function runTool(command: string, args: readonly string[]): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C.UTF-8', PYTHONDONTWRITEBYTECODE: '1' },
    });
    let text = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), TOOL_DEADLINE_MS);
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', chunk => {
        text += chunk;
      });
    child.once('error', error => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', code => {
      clearTimeout(timer);
      resolve({ code, text });
    });
  });
}

/** Undefined when `command` runs and ends well. */
export function whyNot(command: string, args: readonly string[], remedy: string): string | undefined {
  const tried = spawnSync(command, [...args], { stdio: 'ignore', timeout: 10_000 });
  return tried.status === 0 ? undefined : `${command} does not run here: apt-get install -y ${remedy}`;
}

export const noSocat = whyNot('socat', ['-V'], 'socat');
export const noMbimcli = whyNot('mbimcli', ['--version'], 'libmbim-utils') ?? noSocat;
/** The distribution's Python: introspection is not on a Python from elsewhere. */
export const PYTHON = '/usr/bin/python3';
export const noLibmbim =
  whyNot(
    PYTHON,
    ['-c', 'import gi; gi.require_version("Mbim", "1.0"); from gi.repository import Mbim'],
    'python3-gi gir1.2-mbim-1.0',
  ) ?? noSocat;
