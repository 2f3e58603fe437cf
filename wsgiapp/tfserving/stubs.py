"""TF Serving's gRPC stubs and servicers, imported without TensorFlow. They load grpcio, which its messages do not."""

from wsgiapp.tfserving.messages import without_tensorflow

with without_tensorflow():
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

ModelServiceServicer = model_service_pb2_grpc.ModelServiceServicer
ModelServiceStub = model_service_pb2_grpc.ModelServiceStub
PredictionServiceServicer = prediction_service_pb2_grpc.PredictionServiceServicer
PredictionServiceStub = prediction_service_pb2_grpc.PredictionServiceStub
add_model_service = model_service_pb2_grpc.add_ModelServiceServicer_to_server
add_prediction_service = prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server
