/** Which modems are simulated: what they say of themselves and which dialect's rows they answer. */
export type Family = 'ec25' | 'rm5xx' | 'huawei' | '3gpp';

export interface AtModel {
  /** Id of the firmware profile that should drive it. */
  profile: string;
  family: Family;
  maker: string;
  name: string;
  firmware: string;
  /** Where these words come from. */
  source: string;
}

export const MODELS: Record<string, AtModel> = {
  'quectel/ec25': {
    profile: 'quectel/ec25',
    family: 'ec25',
    maker: 'Quectel',
    name: 'EC25',
    firmware: 'EC25EFAR06A11M4G',
    source: 'quectel-ec2x-at: ATI',
  },
  'quectel/eg25-g': {
    profile: 'quectel/eg25-g',
    family: 'ec25',
    maker: 'Quectel',
    name: 'EG25',
    firmware: 'EG25GGBR07A08M2G',
    source: 'quectel-ec2x-at: AT+QGMR; cellular-wiki',
  },
  'quectel/ep06': {
    profile: 'quectel/ep06',
    family: 'ec25',
    maker: 'Quectel',
    name: 'EP06-E',
    firmware: 'EP06ELAR04A02M4G',
    source: 'assumed: form of EC25',
  },
  'quectel/em12': {
    profile: 'quectel/em12',
    family: 'ec25',
    maker: 'Quectel',
    name: 'EM12-G',
    firmware: 'EM12GPAR01A20M4G',
    source: 'assumed: form of EC25',
  },
  'quectel/rm500q': {
    profile: 'quectel/rm500q',
    family: 'rm5xx',
    maker: 'Quectel',
    name: 'RM500Q-GL',
    firmware: 'RM500QGLABR11A06M4G',
    source: 'quectel-rm5-network; qmodem',
  },
  'quectel/rm520n': {
    profile: 'quectel/rm520n',
    family: 'rm5xx',
    maker: 'Quectel',
    name: 'RM520N-GL',
    firmware: 'RM520NGLAAR01A07M4G',
    source: 'quectel-rm5-network: AT+CGMM',
  },
  'huawei/e3372h-153': {
    profile: 'huawei/e3372h-153',
    family: 'huawei',
    maker: 'huawei',
    name: 'E3372',
    firmware: '21.315.01.00.00',
    source: 'modemmanager; e3372-proxmox: firmware 21.x is the stick',
  },
  'generic/at': {
    profile: 'generic/at',
    family: '3gpp',
    maker: 'Generic',
    name: 'UE-27007',
    firmware: '1.0.0',
    source: '3gpp-27007',
  },
};
