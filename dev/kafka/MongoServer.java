import de.bwaldvogel.mongo.ServerVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;

/** mongo-java-server on a port of the caller's choice; its own `main` knows only 27017. */
class MongoServer {
  public static void main(String[] arguments) {
    var backend = new MemoryBackend().version(ServerVersion.MONGO_5_0);
    new de.bwaldvogel.mongo.MongoServer(backend).bind("127.0.0.1", Integer.parseInt(arguments[0]));
  }
}
