// What one listener may have heard through a storm.

export const at = ({ epoch, offset }) => `${epoch}:${offset}`;
export const said = ({ from, number }) => `${from} ${number}`;

// `heard` has, by topic and in order, `{ gap: true }` and messages: position, who has said it and as
// which number. Within an epoch each offset from the first, once and in order; before another epoch, a
// gap; and where something was acknowledged, that.
export function checkHeard(name, heard, acknowledged, complain) {
  const acks = new Map(acknowledged.map((ack) => [`${ack.topic} ${at(ack)}`, said(ack)]));
  for (const topic of Object.keys(heard)) {
    let epoch, offset = 0, gap = true, last = {};
    for (const one of heard[topic]) {
      if (one.gap) {
        gap = true;
        continue;
      }
      const where = `${name}, ${topic} at ${at(one)}`;
      if (one.epoch !== epoch) {
        if (!gap) complain(`${where}: another epoch without a gap`);
        [epoch, offset, last] = [one.epoch, 0, {}];
      }
      if (one.offset !== offset + 1) complain(`${where}: came behind ${offset}`);
      if (one.number <= last[one.from]) {
        complain(`${where}: ${said(one)} came behind ${last[one.from]}`);
      }
      const acked = acks.get(`${topic} ${at(one)}`);
      if (acked && acked !== said(one)) complain(`${where}: ${said(one)}, not ${acked}`);
      offset = one.offset;
      gap = false;
      last[one.from] = one.number;
    }
  }
}
