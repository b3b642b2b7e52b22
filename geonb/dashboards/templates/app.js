// The page of `geonb app`: a server on this machine answers.
const { facts: told } = JSON.parse(document.getElementById("facts").textContent)
const token = new URLSearchParams(location.search).get("token")
const ask = async (asked) => {
  const answer = await fetch("ask", { method: "POST", body: JSON.stringify(asked), headers: { "X-Token": token } })
  if (!answer.ok) throw new Error(answer.status === 422 ? (await answer.json()).failed : `the server said ${answer.status}: is geonb app still running?`)
  const bytes = await answer.arrayBuffer()
  const view = new DataView(bytes)
  const lengths = Array.from({ length: view.getUint32(0, true) }, (_, i) => view.getUint32(4 + 4 * i, true))
  let at = 4 + 4 * lengths.length
  const parts = lengths.map((n) => new Uint8Array(bytes, at, ((at += n), n)))
  return [JSON.parse(new TextDecoder().decode(parts[0])), parts.slice(1)]
}
const root = document.getElementById("explorer")
mount(root, told, ask, () => { document.documentElement.dataset.geonb = root.dataset.shown })
