/** The address of one modem: change it now, by schedule or by secret link; what came of it lately and what works. */
import type { ActionFunctionArgs, LoaderFunctionArgs } from '@remix-run/node';
import { redirect } from '@remix-run/node';
import { Form, useActionData, useLoaderData, useNavigation, useRevalidator } from '@remix-run/react';
import { useEffect } from 'react';
import { asMember } from '../api.server';
import type { ModemDetailView, RotationLinkView } from '../api-types';
import { BackLink } from '../components/back-link';
import { CopyButton } from '../components/copy-button';
import { ErrorView } from '../components/error-view';
import { Icon } from '../components/icons';
import { Moment, useZone } from '../components/moment';
import { ModemPill, Pill, VirtualTag } from '../components/pills';
import { ScheduleCard } from '../components/schedule-card';
import { TableHead } from '../components/table-head';
import { pageTitle } from '../page-title';
import {
  askerInWords,
  mayManageRotation,
  mayRotate,
  methodInWords,
  outcomeInWords,
  readSchedule,
  rotationInWords,
  scheduleForm,
  secondsInWords,
} from '../rotation';

export const meta = pageTitle('Address');

/** While one is under way the page asks again so often. */
const LOOK_MS = 1_000;
/** How long a browser without scripts waits for the end. */
const PATIENT_MS = 25_000;

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async (api, viewer) => {
    const slotId = args.params.slotId ?? '';
    const manages = mayManageRotation(viewer.active.role);
    const latestId = new URL(args.request.url).searchParams.get('rotation');
    // Before the rest, so that what has ended is part of the history below. It may be one that was only refused.
    const asked = latestId === null ? null : await api.rotations.get({ slotId, id: latestId });
    const modem = await api.modems.get({ slotId });
    return {
      modem,
      latest: asked ?? modem.rotations[0] ?? null,
      asked: latestId !== null,
      links: manages ? await api.rotationLinks.list({ slotId }) : [],
      rotates: mayRotate(viewer.active.role),
      manages,
    };
  });

export const action = (args: ActionFunctionArgs) =>
  asMember(args, async api => {
    const slotId = args.params.slotId ?? '';
    const data = await args.request.formData();
    switch (data.get('intent')) {
      case 'rotate': {
        const waitMs = data.get('patient') === 'yes' ? PATIENT_MS : 0;
        const { id } = await api.rotations.start({ slotId, waitMs });
        throw redirect(`/modems/${slotId}/address?rotation=${id}`);
      }
      case 'schedule': {
        const read = readSchedule(data);
        if (!read.ok) return { schedule: read };
        await api.rotations.setSchedule({ slotId, schedule: read.schedule });
        return { scheduled: true };
      }
      case 'make-link': {
        const name = String(data.get('name') ?? '').trim();
        if (name === '' || name.length > 80)
          return { linkProblem: 'A name of 1 to 80 characters, to know it by.' };
        const { id, token } = await api.rotationLinks.create({ slotId, name });
        return {
          made: {
            id,
            name,
            url: new URL(`/rotate/${token}`, args.context.publicUrl ?? args.request.url).href,
          },
        };
      }
      case 'revoke-link': {
        await api.rotationLinks.revoke({ id: String(data.get('id') ?? '') });
        return { revoked: true };
      }
      default:
        throw new Response('There is no such button.', { status: 400 });
    }
  });

type Answer = {
  schedule?: Extract<ReturnType<typeof readSchedule>, { ok: false }>;
  scheduled?: boolean;
  linkProblem?: string;
  made?: { id: string; name: string; url: string };
};

export default function Address() {
  const { modem, latest, asked, links, rotates, manages } = useLoaderData<typeof loader>();
  const answer = useActionData<typeof action>() as Answer | undefined;
  const zone = useZone();
  const underWay = latest?.outcome === null;
  useLooks(underWay);
  return (
    <div className="page">
      <header className="page-head">
        <div>
          <BackLink to="/dashboard">Dashboard</BackLink>
          <h1>
            Address of {modem.model ?? 'modem'} {modem.virtual && <VirtualTag />}
          </h1>
          <p>
            {modem.nodeName} · slot <span className="number">{modem.slot}</span>
          </p>
        </div>
        <ModemPill state={modem.state} nodeOnline={modem.nodeOnline} />
      </header>
      <section className="card card-pad stack" aria-label="Address now">
        <div className="card-head">
          <dl className="facts">
            <div>
              <dt>Exit address</dt>
              <dd className="copyable modem-exit">
                {modem.exitAddress === null ? (
                  <span className="muted">{underWay ? 'changing' : 'not known yet'}</span>
                ) : (
                  <>
                    <span className="exact">{modem.exitAddress}</span>
                    <CopyButton text={modem.exitAddress} what="exit address" />
                  </>
                )}
              </dd>
            </div>
            {modem.exitAddress6 !== null && (
              <div>
                <dt>By IPv6</dt>
                <dd className="copyable modem-exit">
                  <span className="exact">{modem.exitAddress6}</span>
                  <CopyButton text={modem.exitAddress6} what="IPv6 exit address" />
                </dd>
              </div>
            )}
          </dl>
          {rotates && <RotateButton busy={underWay} />}
        </div>
        <div role="status">
          {latest !== null && (asked || underWay) && (
            <p className={`note ${noteTone(latest.outcome)}`} data-outcome={latest.outcome ?? 'under-way'}>
              <Icon
                name={latest.outcome === 'rotated' ? 'check' : latest.outcome === null ? 'modem' : 'alert'}
                size={18}
              />
              <span>{rotationInWords(latest)}</span>
            </p>
          )}
        </div>
      </section>
      <ScheduleCard
        form={answer?.schedule?.form ?? scheduleForm(modem.schedule, zone)}
        problems={answer?.schedule?.problems ?? {}}
        schedule={modem.schedule}
        saved={answer?.scheduled === true}
        mayChange={manages}
      />
      {manages && <Links links={links} answer={answer} />}
      <History modem={modem} />
    </div>
  );
}

export { ErrorView as ErrorBoundary };

/** Asks the server again while a rotation is under way. */
function useLooks(running: boolean): void {
  const { revalidate, state } = useRevalidator();
  useEffect(() => {
    if (!running || state !== 'idle') return;
    const timer = setTimeout(() => void revalidate(), LOOK_MS);
    return () => clearTimeout(timer);
  }, [running, state, revalidate]);
}

const noteTone = (outcome: string | null) =>
  outcome === 'rotated' || outcome === null ? '' : outcome === 'failed' ? 'note-bad' : 'note-warn';

function RotateButton({ busy }: { busy: boolean }) {
  const sending = useNavigation().formData?.get('intent') === 'rotate';
  return (
    <Form method="post">
      <input type="hidden" name="intent" value="rotate" />
      <noscript>
        <input type="hidden" name="patient" value="yes" />
      </noscript>
      <button type="submit" className="button button-main" aria-disabled={busy || sending}>
        {busy || sending ? 'Changing address…' : 'Change address now'}
      </button>
    </Form>
  );
}

function Links({ links, answer }: { links: RotationLinkView[]; answer: Answer | undefined }) {
  return (
    <section className="card card-pad stack" aria-labelledby="links-title">
      <div>
        <h2 id="links-title">Secret links</h2>
        <p className="muted">
          Whoever opens one changes the address of this modem, without a log-in. The answer says what came of
          it.
        </p>
      </div>
      {answer?.made && (
        <p className="note" data-made>
          <Icon name="check" size={18} />
          <span>
            The link “{answer.made.name}” is shown this once:{' '}
            <span className="copyable">
              <code className="exact link-url">{answer.made.url}</code>
              <CopyButton text={answer.made.url} what={`link ${answer.made.name}`} />
            </span>
          </span>
        </p>
      )}
      {links.length > 0 && (
        <table className="table table-cards">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Made</th>
              <th scope="col">Last used</th>
              <th scope="col" className="right">
                <span className="hidden-visually">Revoke</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {links.map(link => (
              <tr key={link.id}>
                <td>{link.name}</td>
                <td data-label="Made">
                  <Moment at={link.createdAt} />
                </td>
                <td data-label="Last used">
                  {link.lastUsedAt === null ? (
                    <span className="muted">never</span>
                  ) : (
                    <Moment at={link.lastUsedAt} />
                  )}
                </td>
                <td className="right">
                  <Form method="post">
                    <input type="hidden" name="intent" value="revoke-link" />
                    <input type="hidden" name="id" value={link.id} />
                    <button type="submit" className="button" aria-label={`Revoke link ${link.name}`}>
                      Revoke
                    </button>
                  </Form>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <Form method="post" className="rotation-row" key={links.length}>
        <input type="hidden" name="intent" value="make-link" />
        <div className="field">
          <label htmlFor="link-name">Name of a new link</label>
          <input
            className="input"
            id="link-name"
            name="name"
            maxLength={80}
            aria-invalid={answer?.linkProblem !== undefined}
            aria-describedby={answer?.linkProblem === undefined ? undefined : 'link-problem'}
          />
          {answer?.linkProblem !== undefined && (
            <span className="field-error" id="link-problem">
              {answer.linkProblem}
            </span>
          )}
        </div>
        <button type="submit" className="button">
          Make link
        </button>
      </Form>
    </section>
  );
}

function History({ modem }: { modem: ModemDetailView }) {
  return (
    <section className="card" aria-labelledby="history-title">
      <div className="card-pad">
        <h2 id="history-title">Lately</h2>
        {modem.rotations.length === 0 ? (
          <p className="muted">The address of this modem has not been changed yet.</p>
        ) : (
          <ul className="rotation-methods">
            {modem.methods.map(one => (
              <li key={`${one.method} ${one.carrier}`}>
                <strong className="number">{Math.round((100 * one.rotated) / one.tries)} %</strong> of{' '}
                <span className="number">{one.tries}</span> worked by {methodInWords(one.method)}
                {one.carrier !== null && ` with ${one.carrier}`}
                {one.p50Ms !== null && one.p95Ms !== null && (
                  <span className="muted">
                    {' '}
                    · half within {secondsInWords(one.p50Ms)}, 95 % within {secondsInWords(one.p95Ms)}
                  </span>
                )}
              </li>
            ))}
          </ul>
        )}
      </div>
      {modem.rotations.length > 0 && (
        <table className="table table-cards">
          <TableHead columns={['When', 'Outcome', 'Address', 'Asked by', 'Took']} right={['Took']} />
          <tbody>
            {modem.rotations.map(one => {
              const { tone, word } = outcomeInWords(one.outcome);
              return (
                <tr key={one.id} title={one.reason}>
                  <td>
                    <Moment at={one.askedAt} />
                  </td>
                  <td data-label="Outcome">
                    <Pill tone={tone}>{word}</Pill>
                  </td>
                  <td data-label="Address">
                    <span className="exact">
                      {one.oldAddress ?? '?'} → {one.newAddress ?? '?'}
                    </span>
                  </td>
                  <td data-label="Asked by">{askerInWords(one.askedFor)}</td>
                  <td data-label="Took" className="right number">
                    {one.tookMs === null ? '' : secondsInWords(one.tookMs)}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
    </section>
  );
}
