/**
 * A setting that was refused, field by field, so that a form can say it beside the field. It has the shape of zod's
 * own errors (`issues` with path and message): screens read both the same way.
 */
import { CodedError } from '@mastline/shared/base/coded-error';

export interface SettingIssue {
  path: (string | number)[];
  message: string;
}

/** Code `fleet/bad-setting`. Messages are for people and hold no secret. */
export class BadSetting extends CodedError {
  readonly issues: readonly SettingIssue[];

  constructor(issues: readonly SettingIssue[]) {
    const text = issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
    super('fleet/bad-setting', `settings refused: ${text}`, { userMessage: text });
    this.name = 'BadSetting';
    this.issues = issues;
  }
}
