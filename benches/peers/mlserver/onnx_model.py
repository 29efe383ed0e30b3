"""A runtime for MLServer that runs an ONNX model; its own packages have none."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class OnnxModel(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        # A row takes microseconds: handing it to other threads would take longer.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]
        return True

    async def predict(self, payload):
        inputs = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        outputs = zip(self.names, self.session.run(self.names, inputs))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output(name, value) for name, value in outputs])
