/**
 * A firmware profile on its way: an operator ships it, the cloud signs it into every node's desired state, and an agent
 * that has never heard of the model finds it on USB and drives it by that profile, until it is withdrawn.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { verifyState } from '@mastline/agent/control-plane/verify-state';
import { Discovery } from '@mastline/agent/modem-plane/discovery/discovery';
import { SlotBook } from '@mastline/agent/modem-plane/discovery/slot-book';
import { discoveredSlots } from '@mastline/agent/modem-plane/discovery/slot-source';
import { createModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { ProfileShelf } from '@mastline/agent/modem-plane/profile-shelf';
import { rotationLadder } from '@mastline/agent/modem-plane/rotation-ladder';
import { VirtualSlots } from '@mastline/agent/modem-plane/virtual-slots';
import { quietLog } from '@mastline/agent/observe/log';
import { createClaim } from '@mastline/cloud/server/fleet/claims';
import type { Viewer } from '@mastline/cloud/server/identity/viewer';
import { createCaller } from '@mastline/cloud/server/router';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import { systemClock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import type { DesiredState, SignedState } from '@mastline/shared/domain/desired-state';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import type { Profile } from '@mastline/shared/profile/schema';
import { type FakeUsb, fakeUsb } from '../agent/modem-plane/discovery/fake-usb';
import { fakeClock } from '../support/clock';
import { connect, deviceKey, enrol, type TestLink } from '../support/cloud-agent';
import { viewer } from '../support/cloud-world';
import { eventually } from '../support/eventually';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { type TestCloud, testCloud } from '../support/test-cloud';
import { startVirtualNetwork } from '../support/virtual-network';

const test = suite('shipped profiles', { needs: ['socat'] });
let cloud: TestCloud;
let operator: Viewer;
let host: Viewer;
let link: TestLink;
let node: { id: string; stateKeys: { keyId: string; publicKey: string }[] };
let shelf: ProfileShelf;
let usb: FakeUsb;

/** A model that no profile of ours knows: another maker, USB id and name. */
const NEW_MODEL: Profile = (() => {
  const file = join(import.meta.dirname, '../../firmware-profiles/quectel/ec25.json');
  const profile = JSON.parse(readFileSync(file, 'utf8')) as Profile;
  return {
    ...profile,
    id: 'simcom/sim7600',
    vendor: 'SIMCom',
    model: 'SIM7600',
    match: {
      ...profile.match,
      usb: [{ vendorId: '1e0e', productId: '9011' }],
      identity: { model: ['SIM7600*'] },
    },
    rotation: profile.rotation.slice(0, 1).map(step => ({ ...step, dwellSeconds: 17 })),
  };
})();

const call = (who: Viewer) =>
  createCaller({ services: cloud.services, viewer: who, sessionId: null, requestId: 'test' });

const refusalOf = async (work: Promise<unknown>): Promise<{ code: string; message: string }> => {
  try {
    await work;
  } catch (error) {
    const { message, cause } = error as Error;
    return { code: codeOf(cause) ?? String(codeOf(error)), message };
  }
  throw new Error('it was let through');
};

/** What the node believes of what it gets. */
function believed(signed: SignedState): DesiredState {
  const verdict = verifyState(signed, {
    nodeId: node.id,
    stateKeys: node.stateKeys,
    floor: { revision: 0, hash: null },
  });
  if (verdict.is === 'refused') throw new Error(verdict.message);
  return verdict.state;
}

test.before(async () => {
  cloud = await testCloud();
  const services = cloud.services as never;
  operator = await viewer(services, 'Operations', 'operator');
  host = await viewer(services, 'Hosts', 'host');
  const key = deviceKey();
  const claim = await createClaim(cloud.services, {
    organizationId: host.active.id,
    nodeName: 'Box',
    createdById: null,
  });
  const { body } = await enrol(cloud.url, key, claim.code);
  node = { id: String(body.nodeId), stateKeys: body.stateKeys as typeof node.stateKeys };
  ({ link } = await connect(cloud.url, { id: node.id, privateKey: key.privateKey }, { epoch: uuidv7() }));
  // The first one, of a node for which nobody has set anything.
  assert.equal(believed(await link.next('desired-state')).profiles, undefined);
  shelf = new ProfileShelf({ own: loadCatalogue, log: quietLog });
  usb = await fakeUsb();
  usb.plug('1-1.4', {
    id: '1e0e:9011',
    product: 'SimTech, Incorporated',
    configurations: {
      1: [
        ...[0, 1, 2, 3].map(n => ({ is: 'ff/00/00', driver: 'option', tty: `ttyUSB${n}` })),
        { is: '02/06/00', driver: 'cdc_ether', net: 'usb0' },
        { is: '0a/00/00' },
      ],
    },
  });
});
test.after(async () => {
  link.close();
  await usb.remove();
  await cloud.stop();
});

test('is taken from operators only, and only when it fits the schema, with every wrong field named', async () => {
  assert.equal(
    (await refusalOf(call(host).profiles.ship({ profile: NEW_MODEL }))).code,
    'identity/not-permitted',
  );
  assert.equal((await refusalOf(call(host).profiles.list())).code, 'identity/not-permitted');
  const wrong = { ...NEW_MODEL, rotation: [{ method: 'AT+EGMR=1,7', dwellSeconds: 4 }], at: undefined };
  const { code, message } = await refusalOf(call(operator).profiles.ship({ profile: wrong }));
  assert.equal(code, 'profile/invalid');
  assert.match(message, /rotation/);
  const large = { ...NEW_MODEL, sources: { x: 'y'.repeat(60_000) } };
  assert.match((await refusalOf(call(operator).profiles.ship({ profile: large }))).message, /bytes long/);
  assert.deepEqual(await call(operator).profiles.list(), []);
  assert.equal(
    (await refusalOf(call(operator).profiles.withdraw({ id: 'a/b' }))).code,
    'fleet/no-such-profile',
  );
});

test('a modem that nobody knows is known to an agent whose signed state brings its profile', async () => {
  const folder = await tempDir('slots');
  const clock = fakeClock();
  const discovery = new Discovery({
    profiles: () => shelf.all(),
    book: new SlotBook({ dataDir: folder.path, reserved: new Set() }),
    clock,
    log: quietLog,
    roots: usb.roots,
    write: usb.write,
    openPort: async path => answeringPort(path.endsWith('ttyUSB2')),
    runTool: async () => '',
  });
  const source = discoveredSlots(discovery, {
    get profiles() {
      return shelf.all();
    },
    dev: usb.roots.dev,
  });
  const profileOf = () => {
    const [slot] = source.slots();
    return slot?.api.kind === 'at' ? slot.api.profile : null;
  };
  try {
    await source.start();
    assert.notEqual(profileOf(), 'simcom/sim7600');
    assert.deepEqual(
      rotationLadder('at', () => shelf.all())(identity('SIM7600E')).at(0)?.dwellSeconds === 17,
      false,
    );

    assert.deepEqual(await call(operator).profiles.ship({ profile: NEW_MODEL }), { id: 'simcom/sim7600' });
    const [listed] = await call(operator).profiles.list();
    assert.deepEqual([listed?.id, listed?.vendor, listed?.model], ['simcom/sim7600', 'SIMCom', 'SIM7600']);
    const signed = await link.next('desired-state');
    assert.equal(createHash('sha256').update(signed.payload).digest('hex'), signed.hash);
    const state = believed(signed);
    assert.deepEqual(
      state.profiles?.map(profile => profile.id),
      ['simcom/sim7600'],
    );
    shelf.adopt(state.profiles ?? []);
    for (let looks = 0; looks < 40 && profileOf() !== 'simcom/sim7600'; looks += 1) await clock.advance(1000);
    assert.equal(profileOf(), 'simcom/sim7600');
    // Rotations go by it, too.
    assert.equal(rotationLadder('at', () => shelf.all())(identity('SIM7600E'))[0]?.dwellSeconds, 17);

    await call(operator).profiles.withdraw({ id: 'simcom/sim7600' });
    const after = believed(await link.next('desired-state'));
    assert.equal(after.profiles, undefined);
    assert.ok(after.revision > state.revision);
    shelf.adopt(after.profiles ?? []);
    assert.deepEqual(shelf.all(), loadCatalogue());
    await clock.advance(3000);
    assert.notEqual(profileOf(), 'simcom/sim7600');
  } finally {
    const closing = source.close();
    await clock.advance(60_000);
    await closing;
    await folder.remove();
  }
});

test(
  'a modem that is driven by a profile that changed is taken up anew by it, and others are left alone',
  async () => {
    const folder = await tempDir('shipped');
    const stateDir = join(folder.path, 'net');
    const net = await startVirtualNetwork(stateDir, 'rootless', ['--modems', '0']);
    await net.control('POST', '/modems', { profile: 'quectel/ec25' });
    await net.control('POST', '/modems', { profile: 'huawei/e3372h-153', driver: 'hilink' });
    const onShelf = new ProfileShelf({ own: loadCatalogue, log: quietLog });
    const plane = createModemPlane({
      slots: [],
      sources: [new VirtualSlots({ stateDir, clock: systemClock, log: quietLog })],
      profiles: onShelf,
      echoUrls: net.ready.echoUrls,
      dataDir: join(folder.path, 'agent'),
      clock: systemClock,
      log: quietLog,
    });
    const seen: string[][] = [[], []];
    plane.onChange(() => {
      for (const [index, { state }] of plane.slots().entries())
        if (seen[index]?.at(-1) !== state) seen[index]?.push(state);
    });
    const allUp = () => plane.slots().length === 2 && plane.slots().every(one => one.state === 'connected');
    try {
      await plane.start();
      await eventually(allUp);
      for (const states of seen) states.length = 0;
      const ec25 = loadCatalogue().find(one => one.id === 'quectel/ec25') as Profile;
      const known = { ...ec25, model: 'EC25, as an operator knows it' };
      onShelf.adopt([known]);
      await eventually(() => seen[0]?.includes('probing') === true && allUp());
      assert.deepEqual(
        seen[1]?.filter(state => state !== 'connected'),
        [],
      );
    } finally {
      await plane.close();
      await net.stop();
      await folder.remove();
    }
  },
  { deadlineMs: 90_000 },
);

const identity = (model: string) => ({ imei: null, imsi: null, iccid: null, model, firmware: null });

/** A serial port that answers AT, or is silent. */
function answeringPort(answers: boolean): Duplex {
  return new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      if (answers && /AT/.test(chunk.toString('latin1'))) this.push('\r\nOK\r\n');
      done();
    },
  });
}

test.run();
