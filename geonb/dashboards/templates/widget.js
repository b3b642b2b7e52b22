// The viewer as a widget: the kernel answers, by number.
const render = ({ model, el }) => {
  const waiting = new Map()
  let number = 0
  const heard = (message, buffers) => {
    const { done, failed } = waiting.get(message.number) ?? {}
    waiting.delete(message.number)
    if (message.failed) failed?.(new Error(message.failed))
    else done?.([message.told, buffers])
  }
  model.on("msg:custom", heard)
  const ask = (asked) => new Promise((done, failed) => { waiting.set(++number, { done, failed }); model.send({ number, asked }) })
  const root = document.createElement("div")
  el.append(root)
  const viewer = mount(root, { ...model.get("facts") }, ask, (state) => { model.set("state", state); model.save_changes() })
  const moved = () => viewer.set(model.get("wanted"))
  model.on("change:wanted", moved)
  return () => { model.off("msg:custom", heard); model.off("change:wanted", moved); viewer.destroy() }
}
export default { render }
