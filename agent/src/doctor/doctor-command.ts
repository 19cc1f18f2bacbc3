/** The command line of the doctor: reads the configuration, examines, says it, and sets the exit code. */
import { parseArgs } from 'node:util';
import { CodedError } from '@mastline/shared/base/coded-error';
import { readAgentConfig } from '../config';
import { examine } from './doctor';
import { exitCodeOf } from './finding';
import { meetPatient } from './patient';
import { reportOf } from './report';

/** Exit code 0: all is well; 1: warnings; 2: failures. */
export async function runDoctorCommand(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { config: { type: 'string' }, json: { type: 'boolean', default: false } },
  });
  const config = values.config === undefined ? null : readAgentConfig(values.config);
  if (config?.kind === 'standalone')
    throw new CodedError('doctor/standalone', 'the doctor looks at nodes', {
      userMessage: `${values.config} is the file of an agent that serves alone; the doctor looks at modems. Run it without --config to examine the box.`,
    });
  const findings = await examine(await meetPatient({ config }));
  const code = exitCodeOf(findings);
  console.log(values.json ? JSON.stringify({ exitCode: code, findings }, null, 2) : reportOf(findings));
  // Not by process.exitCode: a question that nobody answers may still be open.
  process.exit(code);
}
