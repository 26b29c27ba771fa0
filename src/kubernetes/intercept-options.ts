import { readHostPattern } from '../config/matching.ts';
import { type InterceptWay, whyNoAlias } from './check-pod-intercept.ts';
import { quote } from './quote.ts';

/** How the agent's connections get to cambist. */
export interface InterceptOptions {
  readonly way: InterceptWay;
  /** Hosts that are intercepted beside those of the config. */
  readonly hosts: readonly string[];
  /** The image that redirects packets. Set where the way needs it. */
  readonly redirectImage: string | undefined;
}

/** The pod's author chooses how many there are. */
const MAX_HOSTS = 200;

/**
 * Reads hosts that are separated by commas.
 * @returns the problem with the first invalid one, or the hosts
 */
export function readInterceptHosts(text: string | undefined, way: InterceptWay): string | readonly string[] {
  if (text === undefined) return [];
  const written = text.split(',', MAX_HOSTS + 1).map((host) => host.trim());
  if (written.length > MAX_HOSTS) return `must name ${MAX_HOSTS} hosts at most`;
  const hosts: string[] = [];
  for (const host of written) {
    const reading = readHostPattern(host);
    const problem = 'problem' in reading ? reading.problem : way === 'names' ? whyNoAlias(reading.value) : undefined;
    if (problem !== undefined) return `${quote(host)} ${problem}`;
    if ('value' in reading) hosts.push(reading.value);
  }
  return hosts;
}
