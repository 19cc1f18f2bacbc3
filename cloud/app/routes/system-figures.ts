/** The System page's figures as JSON, for its script that asks every few seconds. */
import type { LoaderFunctionArgs } from '@remix-run/node';
import { asMemberJson } from '../api.server';
import { readSystemFigures } from '../system-figures.server';
import { systemQuestion } from '../system-question';

export const loader = (args: LoaderFunctionArgs): Promise<Response> =>
  asMemberJson(args, api => readSystemFigures(api, systemQuestion(new URL(args.request.url).searchParams)));
