import { after } from 'node:test';
import { declareCallTests, declareInterruptionTests } from '../../harness/client-tests.ts';
import { declareErrorTests, declareSignInTests, declareUrlErrorTest, declareVisitTest, whole } from './declare.ts';
import { startGoDriver } from './install.ts';

const driver = await startGoDriver();
after(driver.close);

// The SDK delivers notifications in a separate goroutine.
const traits = { progressMayLag: true };

for (const sdk of [driver.sdk('Go SDK, legacy', 'legacy', traits), driver.sdk('Go SDK, negotiated', 'auto', traits)]) {
  declareCallTests(sdk);
  declareInterruptionTests(sdk);
  // The SDK shows the body of a status only if the status is not 502, 503 or 504, and the body is JSON-RPC.
  declareErrorTests(sdk, { forbidden: whole, unreachable: () => 'Bad Gateway', signedOut: whole, scoped: 'Forbidden' });
}
for (const mode of ['legacy', 'auto'] as const) {
  declareSignInTests(driver.signingIn(`Go SDK, ${mode}, OAuth`, mode), whole);
}

declareVisitTest(driver.visiting('Go SDK, negotiated', 'auto'));
// With a handler for elicitations, this SDK would wait for a notification after the error, which only the backend could send.
declareUrlErrorTest(driver.visiting('Go SDK, legacy, without a handler', 'legacy'));
