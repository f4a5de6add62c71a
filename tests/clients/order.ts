import type { components, paths } from "./api";

type Order = components["schemas"]["CreateVmParamsRequest"];
type Answer = paths["/api/v1/vms"]["post"]["responses"][202]["content"]["application/json"];

const order: Order = { name: "shop", image: "debian-12", flavor: "small" };

export async function place(url: string, token: string): Promise<number> {
  const sent = await fetch(`${url}/api/v1/vms`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify(order),
  });
  const answer = (await sent.json()) as Answer;
  return answer.task.id;
}
