/** `npm run test:node`: all of these share one node. */
import './first-call.test.ts';
import './gateway-agents.test.ts';
import './operations.test.ts';
import './pods.test.ts';
import './replicas.test.ts';
import './rollouts.test.ts';
import './teams.test.ts';
